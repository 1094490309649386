use futures_util::FutureExt as _;

use super::*;
use crate::{
    domain::catalog::{ChangeKind, EntryKind, State},
    service::testing::{TestStore, actor, clock, instance, organization, product, sku},
};

fn load(store: &Arc<TestStore>) -> Arc<Catalogs> {
    let store: Arc<dyn UsageStore> = Arc::clone(store) as _;
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock()));
    Arc::new(Catalogs::load(store, audit).unwrap())
}

fn with_limits(store: &Arc<TestStore>, limits: CatalogLimits) -> Arc<Catalogs> {
    let store: Arc<dyn UsageStore> = Arc::clone(store) as _;
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock()));
    Arc::new(Catalogs::load_with(store, audit, limits, Execution::default()).unwrap())
}

fn desired(products: Vec<Product>) -> DesiredCatalog {
    DesiredCatalog { products, ..DesiredCatalog::default() }
}

fn plain(id: &str) -> Product {
    product(id, State::Active, vec![sku("sku", State::Active)])
}

/// What the store would tell after a restart.
fn stored(store: &TestStore, name: &str) -> Catalog {
    let catalogs = store.catalogs().unwrap();
    let found = catalogs.into_iter().find(|(organization, _)| organization.as_str() == name);
    found.map(|(_, catalog)| catalog).unwrap_or_default()
}

#[tokio::test]
async fn what_is_applied_is_stored_and_seen_by_its_organization_alone() {
    let store = TestStore::new();
    let catalogs = load(&store);
    let (acme, other) = (organization("acme"), organization("other"));
    let changes = catalogs.apply(&actor("acme"), desired(vec![plain("p")]), false).await.unwrap();
    let said: Vec<_> = changes.iter().map(|it| (it.entry, it.id.as_str(), it.change)).collect();
    assert_eq!(
        said,
        [
            (EntryKind::Product, "p", ChangeKind::Created),
            (EntryKind::Sku, "p/sku", ChangeKind::Created)
        ]
    );
    assert_eq!(catalogs.product(&acme, "p").unwrap(), plain("p"));
    assert!(matches!(
        catalogs.product(&other, "p"),
        Err(ServiceError::NotFound { resource: "product", .. })
    ));
    assert_eq!(*catalogs.of(&other), Catalog::default());
    assert_eq!(*load(&store).of(&acme), *catalogs.of(&acme), "a restart finds the same");
}

#[tokio::test]
async fn validating_and_applying_again_write_nothing() {
    let store = TestStore::new();
    let catalogs = load(&store);
    let acme = organization("acme");
    let validated = catalogs.apply(&actor("acme"), desired(vec![plain("p")]), true).await.unwrap();
    assert_eq!(validated.len(), 2);
    assert_eq!(*catalogs.of(&acme), Catalog::default());
    let applied = catalogs.apply(&actor("acme"), desired(vec![plain("p")]), false).await.unwrap();
    assert_eq!(applied, validated);
    assert_eq!(catalogs.apply(&actor("acme"), desired(vec![plain("p")]), false).await.unwrap(), []);
    assert_eq!(store.catalog_gate.passed(), 1);
}

#[tokio::test]
async fn every_violation_is_named() {
    let catalogs = load(&TestStore::new());
    let wanted = DesiredCatalog {
        products: vec![plain("p"), plain("p")],
        instances: vec![instance("i", "nowhere", State::Active)],
        prune: false,
    };
    let refused = catalogs.apply(&actor("acme"), wanted, true).await;
    let Err(ServiceError::InvalidArgument(violations)) = refused else { panic!("{refused:?}") };
    let fields: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["products[1].id", "product_instances[0].product_id"]);
}

#[tokio::test]
async fn a_change_that_cannot_be_stored_is_not_shown() {
    let store = TestStore::with_catalog(&["acme"]);
    let catalogs = load(&store);
    let acme = organization("acme");
    let before = catalogs.of(&acme);
    store.fail_catalog_changes();
    let failed = catalogs.apply(&actor("acme"), desired(vec![plain("new")]), false).await;
    assert!(matches!(failed, Err(ServiceError::Unavailable(_))), "{failed:?}");
    assert!(catalogs.delete_instance(&actor("acme"), "instance").await.is_err());
    assert_eq!(*catalogs.of(&acme), *before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_wait_within_their_organization() {
    let store = TestStore::new();
    let catalogs = load(&store);
    store.catalog_gate.close();
    let changes: Vec<_> = (0..20)
        .map(|number| {
            let catalogs = Arc::clone(&catalogs);
            tokio::spawn(async move {
                // Two organizations: one change of the map must not undo the other's.
                let name = organization(["acme", "other"][number % 2]);
                let wanted = desired(vec![plain(&format!("p{number}"))]);
                catalogs.apply(&actor(name.as_str()), wanted, false).await
            })
        })
        .collect();
    store.catalog_gate.await_waiting(2);
    assert_eq!(*catalogs.of(&organization("acme")), Catalog::default(), "not durable yet");
    store.catalog_gate.open();
    for change in changes {
        assert_eq!(change.await.unwrap().unwrap().len(), 2);
    }
    assert_eq!(store.catalog_gate.waiting_max(), 2, "one of each organization");
    for name in ["acme", "other"] {
        let catalog = catalogs.of(&organization(name));
        assert_eq!(catalog.size().products, 10);
        assert_eq!(stored(&store, name), *catalog);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_changes_nothing() {
    let store = TestStore::new();
    let catalogs = load(&store);
    let acme = organization("acme");
    store.catalog_gate.close();
    let by = actor("acme");
    let call = catalogs.apply(&by, desired(vec![plain("p")]), false);
    assert!(call.now_or_never().is_none());
    store.catalog_gate.await_waiting(1);
    store.catalog_gate.open();
    // Waits for the first one, and builds on it.
    catalogs.apply(&actor("acme"), desired(vec![plain("q")]), false).await.unwrap();
    let ids: Vec<_> = catalogs.of(&acme).products().map(|product| product.id.to_string()).collect();
    assert_eq!(ids, ["p", "q"]);
    assert_eq!(stored(&store, "acme"), *catalogs.of(&acme));
}

#[tokio::test]
async fn a_product_is_deleted_after_its_instances() {
    let store = TestStore::with_catalog(&["acme", "other"]);
    let catalogs = load(&store);
    let acme = organization("acme");
    let early = catalogs.delete_product(&actor("acme"), "product").await;
    assert!(matches!(early, Err(ServiceError::FailedPrecondition(_))), "{early:?}");
    for id in ["instance", "retired-instance"] {
        assert_eq!(catalogs.instance(&acme, id).unwrap().product.as_str(), "product");
        catalogs.delete_instance(&actor("acme"), id).await.unwrap();
    }
    catalogs.delete_product(&actor("acme"), "product").await.unwrap();
    let gone = |result| matches!(result, Err(ServiceError::NotFound { .. }));
    assert!(gone(catalogs.delete_product(&actor("acme"), "product").await));
    assert!(gone(catalogs.delete_instance(&actor("acme"), "instance").await));
    assert!(gone(catalogs.product(&acme, "product").map(drop)));
    assert!(gone(catalogs.instance(&acme, "instance").map(drop)));
    assert!(catalogs.product(&organization("other"), "product").is_ok());
    assert_eq!(stored(&store, "acme"), *catalogs.of(&acme));
}

fn request(page_size: i32, page_token: &str) -> PageRequest {
    PageRequest { page_size, page_token: page_token.to_owned() }
}

fn is_invalid<T: std::fmt::Debug>(result: Result<T, ServiceError>, field: &str) -> bool {
    matches!(&result, Err(ServiceError::InvalidArgument(violations))
        if violations.iter().any(|violation| violation.field == field))
}

#[tokio::test]
async fn pages_hold_everything_once_in_order() {
    let catalogs = load(&TestStore::new());
    let acme = organization("acme");
    let products: Vec<_> = (0..23).map(|number| plain(&format!("p{number:02}"))).collect();
    let instances: Vec<_> =
        (0..23).map(|number| instance(&format!("i{number:02}"), "p00", State::Active)).collect();
    let wanted = DesiredCatalog { products, instances, prune: false };
    catalogs.apply(&actor("acme"), wanted.clone(), false).await.unwrap();
    for page_size in [1, 7, 22, 23, 24, 0] {
        let (mut listed_products, mut listed_instances) = (Vec::new(), Vec::new());
        let mut token = String::new();
        loop {
            let page = catalogs.list_products(&acme, &request(page_size, &token)).unwrap();
            listed_products.extend(page.items);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        loop {
            let page = catalogs.list_instances(&acme, &request(page_size, &token)).unwrap();
            listed_instances.extend(page.items);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(listed_products, wanted.products, "{page_size}");
        assert_eq!(listed_instances, wanted.instances, "{page_size}");
    }
}

#[tokio::test]
async fn a_token_belongs_to_one_list_of_one_organization() {
    let catalogs = load(&TestStore::with_catalog(&["acme", "other"]));
    let (acme, other) = (organization("acme"), organization("other"));
    let token = catalogs.list_products(&acme, &request(1, "")).unwrap().next_page_token;
    assert!(catalogs.list_products(&acme, &request(5, &token)).is_ok(), "the size may change");
    assert!(is_invalid(catalogs.list_products(&other, &request(1, &token)), "page_token"));
    assert!(is_invalid(catalogs.list_instances(&acme, &request(1, &token)), "page_token"));
    assert!(is_invalid(catalogs.list_products(&acme, &request(-1, "")), "page_size"));
    assert!(is_invalid(catalogs.list_products(&acme, &request(1001, "")), "page_size"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_organization_does_not_wait_for_another() {
    let store = TestStore::with_catalog(&["acme", "other"]);
    let catalogs = load(&store);
    store.catalog_gate.close();
    let changing = {
        let catalogs = Arc::clone(&catalogs);
        tokio::spawn(async move {
            catalogs.apply(&actor("acme"), desired(vec![plain("p")]), false).await
        })
    };
    store.catalog_gate.await_waiting(1);
    // Acme's change is not over, and the other organization's are computed all the same.
    for _ in 0..20 {
        let by = actor("other");
        let change = catalogs.apply(&by, desired(vec![plain("p")]), true).await;
        assert_eq!(change.unwrap().len(), 2);
    }
    assert_eq!(store.catalog_gate.passed(), 0);
    store.catalog_gate.open();
    assert_eq!(changing.await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn exceeded_limits_are_named_and_nothing_is_stored() {
    let store = TestStore::new();
    let limits = CatalogLimits { products_max: 2, skus_max: 2, instances_max: 1 };
    let catalogs = with_limits(&store, limits);
    let apply = async |products: &[&str], validate_only: bool| {
        let wanted = desired(products.iter().map(|id| plain(id)).collect());
        catalogs.apply(&actor("acme"), wanted, validate_only).await
    };
    apply(&["p", "q"], false).await.unwrap();
    for validate_only in [true, false] {
        let refused = apply(&["r"], validate_only).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "there would be 3 products of the organization, at most 2 are allowed (organization-products-max); \
             there would be 3 SKUs of the organization, at most 2 are allowed (organization-skus-max); \
             delete some, or have the operator of the server raise the limit"
        );
    }
    assert_eq!(stored(&store, "acme").size().products, 2);
    // What is there can be changed, and what is deleted makes room.
    assert_eq!(apply(&["p", "q"], false).await.unwrap(), []);
    catalogs.delete_product(&actor("acme"), "q").await.unwrap();
    apply(&["r"], false).await.unwrap();
    assert_eq!(catalogs.size().products, 2);
}

/// With work for each change that grows with the catalog, this would take hours.
#[tokio::test]
async fn small_changes_of_a_large_catalog_touch_what_they_name() {
    const INSTANCES: usize = 90_000;
    let store = TestStore::new();
    let mut large = Catalog::default();
    large.put_product(plain("p"));
    for number in 0..INSTANCES {
        large.put_instance(instance(&format!("i{number}"), "p", State::Active));
    }
    let difference = CatalogDifference::between(&Catalog::default(), &large);
    store.memory.change_catalog(&organization("acme"), &difference, &[]).unwrap();
    let catalogs = load(&store);
    for number in 0..20_000 {
        let wanted = DesiredCatalog {
            instances: vec![instance(&format!("new-{number}"), "p", State::Active)],
            ..DesiredCatalog::default()
        };
        let validated = catalogs.apply(&actor("acme"), wanted, true).await;
        assert_eq!(validated.unwrap().len(), 1);
    }
}
