//! Every method, with every kind of credential, over gRPC and over REST.

use bytes::Bytes;
use http::{Method, StatusCode, uri::PathAndQuery};
use meterd::{
    api::bytes_codec::BytesCodec,
    api::pb::{
        self,
        meterd::v1::{CreateClientRequest, CreateOrganizationRequest},
    },
    auth::{
        Permission,
        rpc_permissions::{Access, RPC_ACCESS},
    },
    store::document::Collection,
};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::json;
use tonic::{Code, Request};

use crate::support::{
    http::call,
    server::{Setup, TOKEN, TestServer, noon},
    tokens::Key,
};

/// What a caller sends.
#[derive(Debug, Clone)]
struct Credentials(Vec<(&'static str, String)>);

/// The gRPC code of an answer to an empty message.
async fn over_grpc(server: &TestServer, path: &str, credentials: &Credentials) -> Code {
    let mut client = tonic::client::Grpc::new(server.channel());
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::new());
    for (name, value) in &credentials.0 {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let path = PathAndQuery::try_from(path).unwrap();
    match client.unary(request, path, BytesCodec).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

/// The HTTP status of an answer to an empty body, where the method has a path.
async fn over_rest(
    server: &TestServer,
    method: &MethodDescriptor,
    credentials: &Credentials,
) -> Option<StatusCode> {
    let options = method.options();
    let extension = method.parent_pool().get_extension_by_name("google.api.http").unwrap();
    let rule = options.has_extension(&extension).then(|| options.get_extension(&extension))?;
    let rule = rule.as_message().unwrap();
    let (verb, path) = ["get", "put", "post", "delete"].into_iter().find_map(|verb| {
        let path = rule.get_field_by_name(verb)?.as_str()?.to_owned();
        (!path.is_empty()).then_some((verb, path))
    })?;
    let target = path.replace(['{', '}'], "");
    let method = Method::from_bytes(verb.to_uppercase().as_bytes()).unwrap();
    let mut call = call(method, &target).anonymous();
    for (name, value) in &credentials.0 {
        call = call.header(name, value);
    }
    Some(call.send(server.api).await.status)
}

/// A client with these permissions; its API key.
async fn key_of(server: &TestServer, id: &str, permissions: &[Permission]) -> String {
    let request = CreateClientRequest {
        client_id: id.into(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    server.access().create_client(request).await.unwrap().into_inner().api_key
}

/// What only administrators of the organization `default` may do.
const OPERATORS_ONLY: [&str; 4] = [
    "/meterd.v1.AccessService/CreateOrganization",
    "/meterd.v1.AccessService/RotateSigningKey",
    "/meterd.v1.StoreService/StreamBackup",
    "/meterd.v1.StoreService/GetLogHead",
];

/// The API key of a client of another organization that may do everything there.
async fn key_elsewhere(server: &TestServer) -> String {
    let organization_id = "elsewhere".to_owned();
    let request = CreateOrganizationRequest {
        organization_id: organization_id.clone(),
        name: "Elsewhere".into(),
    };
    server.access().create_organization(request).await.unwrap();
    let request = CreateClientRequest {
        organization_id,
        permissions: Permission::ALL.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    server.access().create_client(request).await.unwrap().into_inner().api_key
}

/// A client's generation as tokens spell it.
fn generation_of(server: &TestServer, id: &str) -> String {
    let documents = server.store.documents(Collection::Clients).unwrap();
    let stored = documents.iter().find(|document| document.name == id).unwrap();
    let client: serde_json::Value = serde_json::from_slice(&stored.body).unwrap();
    format!("{:x}", client["generation"].as_u64().unwrap())
}

#[tokio::test]
async fn every_method_lets_in_those_who_may_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let signing_keys = directory.path().join("signing-keys.json");
    let setup = Setup { signing_keys: Some(signing_keys.clone()), ..Setup::default() };
    let server = TestServer::with(setup).await;
    let key = |key: &str| Credentials(vec![("api-key", key.to_owned())]);
    let token = |token: &str| Credentials(vec![("authorization", format!("Bearer {token}"))]);
    let mut by_permission = Vec::new();
    for (at, permission) in Permission::ALL.into_iter().enumerate() {
        by_permission
            .push((permission, key_of(&server, &format!("only-{at}"), &[permission]).await));
    }
    let nothing = key_of(&server, "nothing", &[]).await;
    let deleted = key_of(&server, "deleted", &Permission::ALL).await;
    let request =
        pb::meterd::v1::DeleteClientRequest { client_id: "deleted".into(), ..Default::default() };
    server.access().delete_client(request).await.unwrap();
    // Tokens that are almost right, for a client that may do everything.
    let everything = key_of(&server, "everything", &Permission::ALL).await;
    let its_key = Key::of_server(&signing_keys);
    let second = noon().as_second();
    let generation = generation_of(&server, "everything");
    let claims = json!({
        "iss": "meterd", "aud": "meterd", "sub": "everything", "org": "default", "kind": "access",
        "generation": generation, "epoch": 0, "iat": second, "nbf": second, "exp": second + 3600, "jti": "1",
    });
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(&its_key.sign(&claims))
    };
    let forged = [
        token(&its_key.unsigned("none", &claims, b"")),
        token(&its_key.unsigned("None", &claims, b"")),
        token(&its_key.unsigned("EdDSA", &claims, &[7; 64])),
        token(&its_key.unsigned("HS256", &claims, &[7; 32])),
        token(&Key::new(its_key.id()).sign(&claims)),
        token(&Key::new("another-key").sign(&claims)),
        with("exp", (second - 31).into()),
        with("nbf", (second + 31).into()),
        with("aud", "another".into()),
        with("iss", "another".into()),
        with("sub", "deleted".into()),
        with("org", "another".into()),
        with("kind", "refresh".into()),
        with("generation", "".into()),
        with("generation", generation_of(&server, "nothing").into()),
        with("epoch", 1.into()),
    ];
    let genuine = token(&its_key.sign(&claims));
    // Whoever may do everything elsewhere.
    let elsewhere = key_elsewhere(&server).await;

    let nobody = [
        Credentials(Vec::new()),
        token(""),
        token("garbage"),
        token(&"x".repeat(10_000)),
        token(&TOKEN[..TOKEN.len() - 1]),
        Credentials(vec![("authorization", TOKEN.to_owned())]),
        Credentials(vec![("authorization", "Basic dXNlcjpwYXNz".to_owned())]),
        key(""),
        key("garbage"),
        key(TOKEN),
        key(&deleted),
        token(&nothing),
        // The key of one client beside the token of another.
        Credentials(vec![
            ("authorization", format!("Bearer {TOKEN}")),
            ("api-key", by_permission[0].1.clone()),
        ]),
        Credentials(vec![
            ("authorization", "Bearer garbage".to_owned()),
            ("api-key", by_permission[0].1.clone()),
        ]),
    ];
    let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET).unwrap();
    let mut tried = 0;
    for (path, access) in RPC_ACCESS {
        let Access::AnyOf(wanted) = access else { continue };
        let (service, name) = path[1..].split_once('/').unwrap();
        let service = pool.get_service_by_name(service).unwrap();
        let method = service.methods().find(|method| method.name() == name).unwrap();
        let check =
            async |credentials: &Credentials, grpc: Option<Code>, rest: Option<StatusCode>| {
                let code = over_grpc(&server, path, credentials).await;
                let status = over_rest(&server, &method, credentials).await;
                match grpc {
                    Some(expected) => assert_eq!(code, expected, "{path} {credentials:?}"),
                    None => assert!(
                        !matches!(code, Code::Unauthenticated | Code::PermissionDenied),
                        "{path} {credentials:?}: {code:?}"
                    ),
                }
                if let Some(status) = status {
                    match rest {
                        Some(expected) => assert_eq!(status, expected, "{path} {credentials:?}"),
                        None => assert!(
                            !matches!(status.as_u16(), 401 | 403 | 500..),
                            "{path} {credentials:?}: {status}"
                        ),
                    }
                }
            };
        for credentials in nobody.iter().chain(&forged) {
            check(credentials, Some(Code::Unauthenticated), Some(StatusCode::UNAUTHORIZED)).await;
            tried += 1;
        }
        let forbidden = (Some(Code::PermissionDenied), Some(StatusCode::FORBIDDEN));
        check(&key(&nothing), forbidden.0, forbidden.1).await;
        for (permission, its_key) in &by_permission {
            if wanted.contains(permission) {
                check(&key(its_key), None, None).await;
            } else {
                check(&key(its_key), forbidden.0, forbidden.1).await;
            }
            tried += 1;
        }
        for credentials in [&genuine, &key(&everything), &token(TOKEN)] {
            check(credentials, None, None).await;
        }
        if OPERATORS_ONLY.contains(path) {
            check(&key(&elsewhere), forbidden.0, forbidden.1).await;
        } else {
            check(&key(&elsewhere), None, None).await;
        }
    }
    assert!(tried > 700, "{tried}");
    server.stop().await;
}
