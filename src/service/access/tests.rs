use super::*;
use crate::service::{
    clock::ManualClock,
    execution::Execution,
    store_reads::{ReadLimits, StoreReads},
    testing::{TestStore, actor, clock, organization},
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
        let shared: Arc<dyn UsageStore> = Arc::clone(&store) as _;
        let audit = Arc::new(AuditTrail::new(Arc::clone(&shared), clock.clone()));
        let reads = StoreReads::new(&shared, ReadLimits::default(), 1, Execution::Threads);
        let access = Access::load(shared, clock.clone(), Arc::clone(&audit)).unwrap();
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
        for collection in [
            crate::store::document::Collection::Clients,
            crate::store::document::Collection::AuditEvents,
        ] {
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
    bench.access.rotate_secret(&by, &acme, "agent", SignedDuration::ZERO).await.unwrap();
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
