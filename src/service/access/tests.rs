use jiff::SignedDuration;

use super::*;
use crate::{
    domain::{
        access::{Client, ClientDirectory as _, ClientGeneration},
        credential::{CredentialHash, CredentialText},
        permission::Permission,
    },
    service::{
        Page, PageRequest,
        clock::ManualClock,
        execution::Execution,
        store_reads::{ReadLimits, StoreReads},
        testing::{TestStore, actor, clock, organization},
    },
    store::document::{Collection, DocumentChange},
};

struct Bench {
    store: Arc<TestStore>,
    clock: Arc<ManualClock>,
    access: Access,
    audit: Arc<AuditTrail>,
    reads: StoreReads,
}

impl Bench {
    fn new() -> Self {
        Self::on(TestStore::new(), clock())
    }

    fn on(store: Arc<TestStore>, clock: Arc<ManualClock>) -> Self {
        Self::with(store, clock, AccessLimits::default())
    }

    fn with(store: Arc<TestStore>, clock: Arc<ManualClock>, limits: AccessLimits) -> Self {
        let shared: Arc<dyn UsageStore> = Arc::clone(&store) as _;
        let audit = Arc::new(AuditTrail::new(Arc::clone(&shared), clock.clone()));
        let reads = StoreReads::new(&shared, ReadLimits::default(), 1, Execution::Threads);
        let (told, execution) = (Arc::clone(&audit), Execution::default());
        let access = Access::load_with(shared, clock.clone(), told, limits, execution).unwrap();
        Self { store, clock, access, audit, reads }
    }

    /// As after a restart.
    fn again(&self) -> Self {
        Self::on(Arc::clone(&self.store), Arc::clone(&self.clock))
    }

    async fn client(&self, organization_name: &str, id: &str) -> CreatedClient {
        let new = NewClient {
            id: id.into(),
            name: format!("Client {id}"),
            permissions: vec!["usage:product:write".into()],
        };
        let by = actor(organization_name);
        self.access.create_client(&by, &organization(organization_name), new).await.unwrap()
    }

    fn with_key(&self, key: &CredentialText) -> Option<Arc<Client>> {
        self.access.with_api_key(&CredentialHash::of(key.reveal().as_bytes()))
    }
}

#[tokio::test]
async fn a_client_is_found_by_its_key_also_after_a_restart() {
    let bench = Bench::new();
    let [one, other] = [bench.client("acme", "agent").await, bench.client("other", "agent").await];
    for bench in [&bench, &bench.again()] {
        assert_eq!(bench.with_key(&one.api_key).unwrap(), one.client);
        assert_eq!(bench.with_key(&other.api_key).unwrap().organization, organization("other"));
        assert!(bench.with_key(&one.secret).is_none(), "a secret is no key");
        assert_eq!(bench.access.client(&organization("acme"), "agent").unwrap(), one.client);
        assert!(bench.access.client(&organization("third"), "agent").is_err());
    }
    let again = NewClient { id: "agent".into(), ..NewClient::default() };
    let refused =
        bench.access.create_client(&actor("acme"), &organization("acme"), again).await.unwrap_err();
    assert!(matches!(refused, ServiceError::AlreadyExists { resource: "client", .. }));
}

#[tokio::test]
async fn nothing_stored_tells_a_secret_or_a_key() {
    let bench = Bench::new();
    let created = bench.client("acme", "agent").await;
    let rotated = bench
        .access
        .rotate_api_key(&actor("acme"), &organization("acme"), "agent", SignedDuration::ZERO)
        .await
        .unwrap();
    for text in [created.secret, created.api_key, rotated] {
        let random = text.reveal().split_once('_').unwrap().1.to_owned();
        for collection in [Collection::Clients, Collection::AuditEvents] {
            for document in bench.store.documents(collection).unwrap() {
                let body = String::from_utf8(document.body).unwrap();
                assert!(!body.contains(&random), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_the_overlap_and_no_longer() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    let first = bench.client("acme", "agent").await.api_key;
    let rotate = async |overlap: SignedDuration| {
        bench.access.rotate_api_key(&by, &acme, "agent", overlap).await
    };
    let second = rotate(SignedDuration::from_hours(1)).await.unwrap();
    assert!(bench.with_key(&first).is_some() && bench.with_key(&second).is_some());
    // A third one ends the first at once: at most two are accepted.
    let third = rotate(SignedDuration::from_hours(2)).await.unwrap();
    assert!(bench.with_key(&first).is_none());
    assert!(bench.with_key(&second).is_some() && bench.with_key(&third).is_some());
    bench.clock.advance(SignedDuration::from_hours(2));
    for bench in [&bench, &bench.again()] {
        assert!(bench.with_key(&second).is_none() && bench.with_key(&third).is_some());
    }
    let fourth = rotate(SignedDuration::ZERO).await.unwrap();
    assert!(bench.with_key(&third).is_none() && bench.with_key(&fourth).is_some());
    for overlap in [SignedDuration::from_secs(-1), SignedDuration::from_hours(24 * 91)] {
        assert!(matches!(rotate(overlap).await, Err(ServiceError::InvalidArgument(_))));
    }
    let client = bench.access.client(&acme, "agent").unwrap();
    assert_eq!((client.api_keys.len(), client.secrets.len()), (1, 1));
}

#[tokio::test]
async fn a_deleted_client_and_a_changed_one_are_so_at_once() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    let created = bench.client("acme", "agent").await;
    let permissions = ["catalog:view".to_owned()];
    let changed =
        bench.access.update_client(&by, &acme, "agent", "New".into(), &permissions).await.unwrap();
    assert_eq!(changed.permissions, [Permission::CatalogView].into());
    assert_eq!(bench.with_key(&created.api_key).unwrap().name, "New");
    bench.access.delete_client(&by, &acme, "agent").await.unwrap();
    for bench in [&bench, &bench.again()] {
        assert!(bench.with_key(&created.api_key).is_none());
        assert!(!bench.access.has_clients());
    }
    let twice = bench.access.delete_client(&by, &acme, "agent").await;
    assert!(matches!(twice, Err(ServiceError::NotFound { resource: "client", .. })));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    let field = async |new: NewClient| match bench.access.create_client(&by, &acme, new).await {
        Err(ServiceError::InvalidArgument(violations)) => violations[0].field.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(NewClient { id: "x".repeat(51), ..NewClient::default() }).await, "client_id");
    assert_eq!(field(NewClient { name: "a\nb".into(), ..NewClient::default() }).await, "name");
    let permissions = vec!["catalog:view".into(), "everything".into()];
    assert_eq!(field(NewClient { permissions, ..NewClient::default() }).await, "permissions[1]");
    assert!(!bench.access.has_clients());
}

#[tokio::test]
async fn operators_reach_every_organization_and_others_their_own() {
    let bench = Bench::new();
    let operator = actor(OPERATOR_ORGANIZATION);
    bench.access.create_organization(&operator, "acme", "Acme").await.unwrap();
    let twice = bench.access.create_organization(&operator, "acme", "").await;
    assert!(matches!(twice, Err(ServiceError::AlreadyExists { .. })));
    let by_other = bench.access.create_organization(&actor("acme"), "mine", "").await;
    assert!(matches!(by_other, Err(ServiceError::PermissionDenied(_))));
    let reach = |by: &str, to: &str| bench.access.reach(&actor(by), to);
    assert_eq!(reach(OPERATOR_ORGANIZATION, "acme").unwrap(), organization("acme"));
    assert_eq!(reach("acme", "").unwrap(), organization("acme"));
    for (by, to) in
        [(OPERATOR_ORGANIZATION, "nowhere"), ("acme", OPERATOR_ORGANIZATION), ("acme", "nowhere")]
    {
        assert!(matches!(reach(by, to), Err(ServiceError::NotFound { .. })), "{by} {to}");
    }
    let listed = |by: &str| {
        let page = bench.access.list_organizations(&actor(by), &PageRequest::default()).unwrap();
        page.items.iter().map(|organization| organization.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(OPERATOR_ORGANIZATION), ["acme"]);
    assert_eq!(listed("acme"), ["acme"]);
    assert!(listed("other").is_empty());
}

#[tokio::test]
async fn every_change_is_on_record_with_its_number() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    bench.client("acme", "agent").await;
    bench.client("other", "agent").await;
    let bench = bench.again();
    bench.access.rotate_secret(&by, &acme, "agent", SignedDuration::ZERO, None).await.unwrap();
    bench.access.delete_client(&by, &acme, "agent").await.unwrap();
    let page = |size: i32, token: String| PageRequest { page_size: size, page_token: token };
    let list = async |organization: &OrganizationId, page: PageRequest| {
        bench.audit.list(&bench.reads, &by.caller, organization, &page).await
    };
    let first = list(&acme, page(2, String::new())).await.unwrap();
    let said: Vec<_> = first
        .items
        .iter()
        .map(|event| (event.number, event.action, event.subject.as_str()))
        .collect();
    assert_eq!(
        said,
        [(3, AuditAction::ClientDeleted, "agent"), (2, AuditAction::SecretRotated, "agent")]
    );
    let second = list(&acme, page(2, first.next_page_token.clone())).await.unwrap();
    assert_eq!((second.items.len(), second.items[0].action), (1, AuditAction::ClientCreated));
    assert_eq!(second.items[0].detail, "usage:product:write");
    assert_eq!(second.next_page_token, "");
    let foreign = list(&organization("other"), page(2, first.next_page_token)).await;
    assert!(matches!(foreign, Err(ServiceError::InvalidArgument(_))));
}

#[tokio::test]
async fn recreated_client_has_nothing_of_the_one_before() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    let first = bench.client("acme", "agent").await;
    bench.access.used(&first.client);
    assert_eq!(bench.access.last_used(&first.client), Some(bench.clock.now()));
    bench.access.delete_client(&by, &acme, "agent").await.unwrap();
    let second = bench.client("acme", "agent").await;
    // A call of the one before may still be under way.
    bench.access.used(&first.client);
    for bench in [&bench, &bench.again()] {
        let client = bench.access.client(&acme, "agent").unwrap();
        assert_eq!(client, second.client);
        assert!(client.accepts_token_of(&second.client.token_subject()));
        assert!(!client.accepts_token_of(&first.client.token_subject()));
        assert_eq!(bench.access.last_used(&client), None);
        assert!(bench.with_key(&first.api_key).is_none());
        let secret = CredentialHash::of(first.secret.reveal().as_bytes());
        assert!(bench.access.with_secret(&secret).is_none());
    }
}

#[tokio::test]
async fn rotated_secret_revokes_tokens_unless_it_overlaps() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    bench.client("acme", "agent").await;
    let hour = SignedDuration::from_hours(1);
    for (overlap, revoke_tokens, revokes) in [
        (SignedDuration::ZERO, None, true),
        (SignedDuration::ZERO, Some(false), false),
        (hour, None, false),
        (hour, Some(true), true),
    ] {
        let before = bench.access.client(&acme, "agent").unwrap().token_subject();
        let rotating = bench.access.rotate_secret(&by, &acme, "agent", overlap, revoke_tokens);
        rotating.await.unwrap();
        for bench in [&bench, &bench.again()] {
            let client = bench.access.client(&acme, "agent").unwrap();
            let said = format!("{overlap:?} {revoke_tokens:?}");
            assert_eq!(!client.accepts_token_of(&before), revokes, "{said}");
            assert!(client.accepts_token_of(&client.token_subject()));
        }
        let event = bench
            .audit
            .list(&bench.reads, &by.caller, &acme, &PageRequest::default())
            .await
            .unwrap()
            .items
            .remove(0);
        assert_eq!(event.detail.contains("revoked"), revokes, "{}", event.detail);
    }
    let before = bench.access.client(&acme, "agent").unwrap().token_subject();
    bench.access.rotate_api_key(&by, &acme, "agent", SignedDuration::ZERO).await.unwrap();
    assert!(bench.access.client(&acme, "agent").unwrap().accepts_token_of(&before));
}

#[tokio::test]
async fn removed_public_key_revokes_tokens_when_asked_to() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    bench.client("acme", "agent").await;
    for revoke_tokens in [false, true] {
        let key = bench.access.add_public_key(&by, &acme, "agent", "a key").await.unwrap();
        assert!(bench.access.with_public_key(&key).is_some());
        let before = bench.access.client(&acme, "agent").unwrap().token_subject();
        let remove =
            async || bench.access.remove_public_key(&by, &acme, "agent", &key, revoke_tokens).await;
        remove().await.unwrap();
        assert!(bench.access.with_public_key(&key).is_none());
        let client = bench.access.client(&acme, "agent").unwrap();
        assert_eq!(!client.accepts_token_of(&before), revoke_tokens);
        let again = remove().await;
        assert!(matches!(again, Err(ServiceError::NotFound { resource: "public key", .. })));
    }
}

#[tokio::test]
async fn client_from_before_generations_keeps_its_tokens() {
    let bench = Bench::new();
    let (by, acme) = (actor("acme"), organization("acme"));
    let body = br#"{"name":"old","created":"2026-11-20T12:00:00Z","permissions":[],"secrets":[],"api_keys":[]}"#;
    let document = DocumentChange {
        collection: Collection::Clients,
        organization: acme.clone(),
        name: "agent".into(),
        body: Some(body.to_vec()),
    };
    bench.store.write_documents(&[document]).unwrap();
    let bench = bench.again();
    let client = bench.access.client(&acme, "agent").unwrap();
    assert_eq!((client.generation, client.token_epoch), (ClientGeneration::default(), 0));
    let before = client.token_subject();
    let updated = bench.access.update_client(&by, &acme, "agent", "new".into(), &[]).await.unwrap();
    assert!(updated.accepts_token_of(&before));
    bench.access.rotate_secret(&by, &acme, "agent", SignedDuration::ZERO, None).await.unwrap();
    assert!(!bench.access.client(&acme, "agent").unwrap().accepts_token_of(&before));
    bench.access.delete_client(&by, &acme, "agent").await.unwrap();
    let again = bench.client("acme", "agent").await;
    assert!(!again.client.accepts_token_of(&before));
}

#[tokio::test]
async fn clients_and_organizations_have_limits() {
    let limits = AccessLimits { organizations_max: 2, clients_max: 2 };
    let bench = Bench::with(TestStore::new(), clock(), limits);
    let operator = actor(OPERATOR_ORGANIZATION);
    let exceeded = |result: Result<(), ServiceError>| match result {
        Err(ServiceError::LimitExceeded(exceeded)) => {
            exceeded.iter().map(|it| (it.option, it.count, it.max)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    for id in ["acme", "other"] {
        bench.access.create_organization(&operator, id, "").await.unwrap();
        for client in ["a", "b"] {
            bench.client(id, client).await;
        }
    }
    let third = bench.access.create_organization(&operator, "third", "").await.map(drop);
    assert_eq!(exceeded(third), [("organizations-max", 3, 2)]);
    let (by, acme) = (actor("acme"), organization("acme"));
    let new = |id: &str| NewClient { id: id.into(), ..NewClient::default() };
    let create = async |id: &str| bench.access.create_client(&by, &acme, new(id)).await.map(drop);
    assert_eq!(exceeded(create("c").await), [("organization-clients-max", 3, 2)]);
    let taken = create("a").await;
    assert!(matches!(taken, Err(ServiceError::AlreadyExists { .. })), "{taken:?}");
    bench.access.update_client(&by, &acme, "a", "name".into(), &[]).await.unwrap();
    bench.access.delete_client(&by, &acme, "a").await.unwrap();
    create("c").await.unwrap();
    assert_eq!(bench.access.size(), AccessSize { organizations: 2, clients: 4 });
}

#[tokio::test]
async fn pages_hold_the_clients_of_one_organization() {
    let bench = Bench::new();
    for organization_name in ["acme", "other"] {
        for number in 0..7 {
            bench.client(organization_name, &format!("c{number}")).await;
        }
    }
    let mut listed = Vec::new();
    let mut request = PageRequest { page_size: 3, page_token: String::new() };
    loop {
        let page: Page<Arc<Client>> =
            bench.access.list_clients(&organization("acme"), &request).unwrap();
        listed.extend(
            page.items
                .iter()
                .map(|client| (client.organization.to_string(), client.id.to_string())),
        );
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (0..7).map(|number| ("acme".to_owned(), format!("c{number}"))).collect();
    assert_eq!(listed, expected);
}

/// With work for each client that grows with their number, this would take many minutes.
#[tokio::test]
async fn many_clients_are_loaded_and_changed() {
    const CLIENTS: usize = 30_000;
    let bench = Bench::new();
    let one = bench.client("acme", "agent").await;
    let stored = bench.store.documents(Collection::Clients).unwrap().remove(0);
    let text = String::from_utf8(stored.body).unwrap();
    let hash = |number: usize| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(CredentialHash::of(&number.to_be_bytes()).0)
    };
    let own = one.client.api_keys[0].hash.0;
    let own = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(own)
    };
    assert!(text.contains(&own));
    let documents: Vec<_> = (0..CLIENTS)
        .map(|number| DocumentChange {
            collection: Collection::Clients,
            organization: organization("acme"),
            name: format!("c{number}"),
            body: Some(text.replace(&own, &hash(number)).into_bytes()),
        })
        .collect();
    bench.store.write_documents(&documents).unwrap();
    let bench = bench.again();
    assert_eq!(bench.access.size().clients, CLIENTS + 1);
    let by_key =
        |number: usize| bench.access.with_api_key(&CredentialHash::of(&number.to_be_bytes()));
    for number in [0, 1, CLIENTS / 2, CLIENTS - 1] {
        assert_eq!(by_key(number).unwrap().id.as_str(), format!("c{number}"));
    }
    let (by, acme) = (actor("acme"), organization("acme"));
    for number in 0..100 {
        bench.access.delete_client(&by, &acme, &format!("c{number}")).await.unwrap();
        assert!(by_key(number).is_none());
    }
    assert!(by_key(100).is_some());
    assert_eq!(bench.access.size().clients, CLIENTS + 1 - 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_organization_does_not_wait_for_another() {
    let bench = Bench::new();
    bench.store.document_gate.close();
    let access = Arc::new(bench.access);
    let create = |name: &'static str, id: &'static str| {
        let access = Arc::clone(&access);
        tokio::spawn(async move {
            let new = NewClient { id: id.into(), ..NewClient::default() };
            access.create_client(&actor(name), &organization(name), new).await
        })
    };
    let changes = [create("acme", "a"), create("acme", "b"), create("other", "a")];
    // One of each organization is about to be written; the second one of acme waits for the first.
    bench.store.document_gate.await_waiting(2);
    bench.store.document_gate.open();
    for change in changes {
        change.await.unwrap().unwrap();
    }
    assert_eq!(bench.store.document_gate.waiting_max(), 2);
    assert_eq!(access.size().clients, 3);
}
