//! The same random requests over gRPC and over REST: the same verdicts, the same errors.
//!
//! Two servers begin alike; one hears everything over gRPC, the other over REST. `METERD_DIFFERENTIAL_CASES`
//! for more cases, `METERD_DIFFERENTIAL_SEED` to repeat some.

use bytes::Bytes;
use http::{Method, StatusCode, uri::PathAndQuery};
use meterd::api::bytes_codec::BytesCodec;
use meterd::api::pb;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ReflectMessage as _, SerializeOptions, Value,
};
use serde_json::Value as Json;
use tonic::Request;

use crate::support::{
    http::call,
    random::Random,
    server::{TOKEN, TestServer},
};

/// Makes requests up.
struct Requests(Random);

impl Requests {
    fn message(&mut self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            // Mostly whole messages: half of them would fail for a trifle.
            if self.0.below(10) < 8 || field.name() == "client_id" {
                message.set_field(&field, self.value(&field));
            }
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor) -> Value {
        if !field.is_list() {
            return self.single(field);
        }
        let count = match field.name() {
            "usage_records" => self.0.one_of(&[0, 1, 1, 2, 5, 25, 26]),
            _ => self.0.below(3),
        };
        Value::List((0..count).map(|_| self.single(field)).collect())
    }

    fn single(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Bool => Value::Bool(self.0.below(4) == 0),
            Kind::Int32 => Value::I32(self.0.one_of(&[-1, 0, 1, 2, 1000, 1001, i32::MAX])),
            Kind::Int64 => {
                Value::I64(self.0.one_of(&[-1, 0, 1, 1, 2, 3, 1 << 60, i64::MAX, i64::MIN]))
            }
            Kind::Enum(of) => {
                let known: Vec<i32> = of.values().map(|value| value.number()).collect();
                Value::EnumNumber(if self.0.below(8) == 0 { 99 } else { self.0.one_of(&known) })
            }
            Kind::Message(of) if of.full_name() == "google.protobuf.Timestamp" => {
                Value::Message(self.time(&of))
            }
            Kind::Message(of) if of.full_name() == "google.protobuf.Duration" => {
                let seconds = self.0.one_of(&[-1, 0, 3600, 86_400 * 90, 86_400 * 91]);
                let mut message = DynamicMessage::new(of);
                message.transcode_from(&prost_types::Duration { seconds, nanos: 0 }).unwrap();
                Value::Message(message)
            }
            Kind::Message(of) => Value::Message(self.message(&of)),
            Kind::String => Value::String(self.text(field.name())),
            other => panic!("no values for {other:?}"),
        }
    }

    fn time(&mut self, of: &MessageDescriptor) -> DynamicMessage {
        // Around the server's noon of 2026-11-20.
        let offset = self.0.one_of(&[0, -5, -3599, -3600, -3601, 29, 31, -1_795_000_000]);
        let time = prost_types::Timestamp {
            seconds: 1_795_176_000 + offset,
            nanos: self.0.one_of(&[0, 1, 123_456_789, 591_128_000]),
        };
        let mut message = DynamicMessage::new(of.clone());
        message.transcode_from(&time).unwrap();
        message
    }

    fn text(&mut self, field: &str) -> String {
        let long = "l".repeat(51);
        let values: &[&str] = match field {
            "uuid" => {
                let number = self.0.below(60);
                return match number {
                    0 => String::new(),
                    1 => "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".into(),
                    2 => long,
                    _ => {
                        let uuid = uuid::Uuid::from_u128(number as u128).to_string();
                        if self.0.below(2) == 0 { uuid.to_uppercase() } else { uuid }
                    }
                };
            }
            "product_id" | "product_ids" | "id" => {
                &["storage", "storage", "saas", "gone", "", "Größe/m²?x=1&y:z", "new", &long]
            }
            "product_instance_id" | "product_instance_ids" => {
                &["saas-1", "saas-2", "saas-old", "none"]
            }
            "sku_id" | "sku_ids" => &["gb-hour", "gb-hour", "requests", "old", "seat", ""],
            "interval" | "usage_interval" | "stored_interval" => &[
                "2026-11-20/P1D",
                "2026-11-20T10:00:00Z/2026-11-20T13:00:00Z",
                "2026-11-20T12:00:00+02:00/PT3H",
                "2026-11-20/2026-11-20",
                "yesterday",
                "",
            ],
            // Never empty: the server would make one up.
            "client_id" => &["agent", "agent", "other agent", "nobody", &long],
            "organization_id" => &["", "", "acme", "nowhere", "default"],
            "permissions" => &["usage:product:write", "catalog:view", "access:admin", "nothing"],
            "time_zone" => &["", "UTC", "Europe/Berlin", "Asia/Kathmandu", "Mars/Base"],
            "page_token" => &["", "", "", "garbage", "AAAA"],
            _ => &["", "plain", "with \"quotes\" and ünïcode", "a\nb"],
        };
        self.0.one_of(values).to_owned()
    }
}

/// How a method is called over REST.
struct RestCall {
    method: Method,
    target: String,
    body: Option<String>,
}

/// Puts a request into the path, the query and the body; `None` if a path variable is empty, which no path
/// can say.
fn rest_call(
    method: &MethodDescriptor,
    request: &DynamicMessage,
    random: &mut Random,
) -> Option<RestCall> {
    let options = method.options();
    let extension = method.parent_pool().get_extension_by_name("google.api.http").unwrap();
    let rule = options.get_extension(&extension);
    let rule = rule.as_message().unwrap();
    let (verb, path) = ["get", "put", "post", "delete"].into_iter().find_map(|verb| {
        let path = rule.get_field_by_name(verb)?.as_str()?.to_owned();
        (!path.is_empty()).then_some((verb, path))
    })?;
    let options = SerializeOptions::new()
        .use_proto_field_name(random.below(2) == 0)
        .stringify_64_bit_integers(random.below(2) == 0)
        .use_enum_numbers(random.below(2) == 0)
        .skip_default_fields(random.below(2) == 0);
    let mut request = request.clone();
    let mut target = String::new();
    let mut in_path = Vec::new();
    for segment in path.split_inclusive('/') {
        let Some((name, rest)) = segment.strip_prefix('{').and_then(|s| s.split_once('}')) else {
            target.push_str(segment);
            continue;
        };
        let field = request.descriptor().get_field_by_name(name).unwrap();
        let value =
            request.take_field(&field).and_then(|value| value.as_str().map(str::to_owned))?;
        target.push_str(&format!("{}{rest}", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
        if value.is_empty() {
            return None;
        }
        in_path.push(field);
    }
    let mut json = request.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
    for field in in_path {
        let members = json.as_object_mut().unwrap();
        members.remove(field.name());
        members.remove(field.json_name());
    }
    let whole = rule.get_field_by_name("body").unwrap().as_str() == Some("*");
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !whole {
        flatten("", &json, &mut query);
    }
    Some(RestCall {
        method: Method::from_bytes(verb.to_uppercase().as_bytes()).unwrap(),
        target: format!("{target}?{}", query.finish()),
        body: whole.then(|| json.to_string()),
    })
}

fn flatten(name: &str, json: &Json, query: &mut form_urlencoded::Serializer<'_, String>) {
    match json {
        Json::Object(members) => {
            for (member, value) in members {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{dot}{member}"), value, query);
            }
        }
        Json::Array(values) => values.iter().for_each(|value| flatten(name, value, query)),
        Json::String(text) => {
            query.append_pair(name, text);
        }
        other => {
            query.append_pair(name, &other.to_string());
        }
    }
}

/// What servers make up themselves is not compared: only whether it is there.
fn masked(mut json: Json) -> Json {
    for name in ["nextPageToken", "asOf", "secret", "apiKey", "keyId", "previousKeyIds"] {
        if let Some(text) = json.get_mut(name) {
            *text = Json::Bool(text.as_str() != Some(""));
        }
    }
    // Keys and clients are named there.
    for event in json.get_mut("events").and_then(Json::as_array_mut).into_iter().flatten() {
        if let Some(detail) = event.get_mut("detail") {
            *detail = Json::Bool(detail.as_str() != Some(""));
        }
    }
    // Where the server was reached.
    if json.get("address").is_some() || json.get("endpoints").is_some() {
        return Json::Null;
    }
    json
}

async fn over_grpc(
    channel: &tonic::transport::Channel,
    method: &MethodDescriptor,
    request: &DynamicMessage,
) -> (StatusCode, Json) {
    let pool = method.parent_pool();
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut call = Request::new(Bytes::from(request.encode_to_vec()));
    call.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    match client.unary(call, PathAndQuery::try_from(path).unwrap(), BytesCodec).await {
        Ok(answer) => {
            let message = DynamicMessage::decode(method.output(), answer.into_inner()).unwrap();
            let json = message.serialize_with_options(serde_json::value::Serializer, &options);
            (StatusCode::OK, json.unwrap())
        }
        Err(status) => {
            let descriptor = pool.get_message_by_name("google.rpc.Status").unwrap();
            let message = DynamicMessage::decode(descriptor, status.details()).unwrap();
            let json = message.serialize_with_options(serde_json::value::Serializer, &options);
            let http = match status.code() {
                tonic::Code::InvalidArgument | tonic::Code::FailedPrecondition => 400,
                tonic::Code::NotFound => 404,
                tonic::Code::AlreadyExists => 409,
                tonic::Code::Unauthenticated => 401,
                tonic::Code::Unimplemented => 501,
                other => panic!("{other:?}: {}", status.message()),
            };
            (StatusCode::from_u16(http).unwrap(), json.unwrap())
        }
    }
}

#[tokio::test]
async fn grpc_and_rest_agree() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed =
        number("METERD_DIFFERENTIAL_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let cases = number("METERD_DIFFERENTIAL_CASES").unwrap_or(1500);
    eprintln!("METERD_DIFFERENTIAL_SEED={seed}");
    let mut requests = Requests(Random::new(seed));
    let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET).unwrap();
    let rule = pool.get_extension_by_name("google.api.http").unwrap();
    let methods: Vec<MethodDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .filter(|method| method.options().has_extension(&rule) && !method.is_server_streaming())
        // Their JSON is not the one that ProtoJSON makes of the messages.
        .filter(|method| {
            !["UsageBatchService", "UsageQueryService"].contains(&method.parent_service().name())
        })
        .collect();
    let (by_grpc, by_rest) = (TestServer::start().await, TestServer::start().await);
    let channel = by_grpc.channel();
    let (mut successes, mut refusals) = (0, 0);
    for case in 0..cases {
        let method = requests.0.one_of(&methods);
        let request = requests.message(&method.input());
        let Some(rest) = rest_call(&method, &request, &mut requests.0) else { continue };
        let mut call = call(rest.method.clone(), &rest.target);
        if let Some(body) = &rest.body {
            call = call.json(body);
        }
        let answer = call.send(by_rest.api).await;
        let (status, json) = over_grpc(&channel, &method, &request).await;
        let context = format!(
            "case {case}, {} {} {}",
            rest.method,
            rest.target,
            rest.body.unwrap_or_default()
        );
        assert_eq!(masked(answer.json()), masked(json), "{context}");
        assert_eq!(answer.status, status, "{context}");
        if status == StatusCode::OK { successes += 1 } else { refusals += 1 }
    }
    assert!(
        successes > cases / 10 && refusals > cases / 10,
        "{successes} and {refusals} say little"
    );
    by_grpc.stop().await;
    by_rest.stop().await;
}
