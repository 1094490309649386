use super::*;

fn sku(id: &str) -> (SkuId, Sku) {
    let id = SkuId::new(id).unwrap();
    let sku = Sku {
        id: id.clone(),
        name: String::new(),
        usage_unit: "unit".into(),
        state: State::Active,
    };
    (id, sku)
}

fn product(id: &str, skus: &[&str]) -> Product {
    Product {
        id: ProductId::new(id).unwrap(),
        name: id.into(),
        state: State::Active,
        skus: skus.iter().map(|id| sku(id)).collect(),
    }
}

fn instance(id: &str, product: &str) -> ProductInstance {
    ProductInstance {
        id: ProductInstanceId::new(id).unwrap(),
        product: ProductId::new(product).unwrap(),
        name: String::new(),
        state: State::Active,
    }
}

fn products(products: Vec<Product>) -> DesiredCatalog {
    DesiredCatalog { products, ..DesiredCatalog::default() }
}

fn apply(catalog: &Catalog, desired: DesiredCatalog) -> (Catalog, Vec<String>) {
    let (next, difference) = catalog.apply(desired, &CatalogLimits::default()).unwrap();
    assert_eq!(catalog.with(&difference), next, "the difference says all of the change");
    let compared = CatalogDifference::between(catalog, &next);
    assert_eq!(compared.changes(), difference.changes());
    let said = difference
        .changes()
        .iter()
        .map(|change| format!("{:?} {:?} {}", change.change, change.entry, change.id))
        .collect();
    (next, said)
}

#[test]
fn applying_twice_changes_nothing() {
    let desired = products(vec![product("p", &["a", "b"])]);
    let (first, said) = apply(&Catalog::default(), desired.clone());
    assert_eq!(said, ["Created Product p", "Created Sku p/a", "Created Sku p/b"]);
    assert_eq!(apply(&first, desired), (first, vec![]));
}

#[test]
fn a_dropped_sku_is_retired_and_prune_retires_the_rest() {
    let mut desired = products(vec![product("p", &["a", "b"]), product("q", &[])]);
    desired.instances = vec![instance("i", "p"), instance("j", "q")];
    let (first, _) = apply(&Catalog::default(), desired);
    let mut desired = products(vec![product("p", &["a"])]);
    desired.instances = vec![instance("i", "p")];
    desired.prune = true;
    let (second, said) = apply(&first, desired.clone());
    assert_eq!(said, ["Retired Product q", "Retired Sku p/b", "Retired ProductInstance j"]);
    assert_eq!(apply(&second, desired).1, Vec::<String>::new());
}

#[test]
fn removed_entries_are_told_and_counted() {
    let mut desired = products(vec![product("p", &["a", "b"]), product("q", &["a"])]);
    desired.instances = vec![instance("i", "p"), instance("j", "p")];
    let (full, _) = apply(&Catalog::default(), desired);
    assert_eq!(full.size(), CatalogSize { products: 2, skus: 3, instances: 2 });
    assert_eq!((full.instances_of("p"), full.instances_of("q")), (2, 0));
    let mut emptied = full.clone();
    assert!(emptied.remove_instance("i").is_some() && emptied.remove_instance("i").is_none());
    emptied.put_instance(instance("j", "q"));
    assert_eq!((emptied.instances_of("p"), emptied.instances_of("q")), (0, 1));
    assert!(emptied.remove_product("p").is_some() && emptied.remove_product("p").is_none());
    assert_eq!(emptied.size(), CatalogSize { products: 1, skus: 1, instances: 1 });
    let difference = CatalogDifference::between(&full, &emptied);
    assert_eq!(full.with(&difference), emptied);
    let said: Vec<_> = difference.changes().into_iter().map(|it| (it.change, it.id)).collect();
    let expected = [
        (ChangeKind::Deleted, "p"),
        (ChangeKind::Deleted, "p/a"),
        (ChangeKind::Deleted, "p/b"),
        (ChangeKind::Deleted, "i"),
        (ChangeKind::Updated, "j"),
    ];
    assert_eq!(said, expected.map(|(change, id)| (change, id.to_owned())));
    assert_eq!(full.size().skus, 3, "a clone stays what it was");
}

#[test]
fn every_violation_is_reported_at_once() {
    let nameless = ProductInstance { name: "n".repeat(257), ..instance("i", "nowhere") };
    let desired = DesiredCatalog {
        products: vec![product("p", &[]), product("p", &[])],
        instances: vec![nameless],
        prune: false,
    };
    let refused = Catalog::default().apply(desired, &CatalogLimits::default());
    let Err(CatalogRefusal::Invalid(violations)) = refused else { panic!("{refused:?}") };
    let fields: Vec<String> = violations.into_iter().map(|violation| violation.field).collect();
    assert_eq!(
        fields,
        ["products[1].id", "product_instances[0].name", "product_instances[0].product_id"]
    );
}

#[test]
fn invisible_character_is_refused_unless_stored_before() {
    let hidden = "a\u{200B}b";
    let mut there = product(hidden, &[hidden]);
    let mut before = Catalog::default();
    before.put_product(there.clone());
    let again = products(vec![there.clone()]);
    assert!(before.apply(again.clone(), &CatalogLimits::default()).is_ok(), "it may stay");
    let violations = |catalog: &Catalog, desired: DesiredCatalog| {
        let refused = catalog.apply(desired, &CatalogLimits::default());
        let Err(CatalogRefusal::Invalid(violations)) = refused else { panic!("{refused:?}") };
        assert!(violations.iter().all(|violation| violation.description.ends_with("has U+200B")));
        violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let of_sku = format!("products[0].skus[{hidden}].id");
    assert_eq!(
        violations(&Catalog::default(), again),
        ["products[0].id", "products[0].name", of_sku.as_str()]
    );
    there.name = "c\u{200B}d".into();
    assert_eq!(violations(&before, products(vec![there])), ["products[0].name"]);
}

#[test]
fn every_exceeded_limit_is_named_at_once() {
    let limits = CatalogLimits { products_max: 1, skus_max: 2, instances_max: 1 };
    let desired = |products: Vec<Product>, instances: &[&str]| DesiredCatalog {
        products,
        instances: instances.iter().map(|id| instance(id, "p")).collect(),
        prune: false,
    };
    let full = desired(vec![product("p", &["a", "b"])], &["i"]);
    let (full, _) = Catalog::default().apply(full, &limits).unwrap();
    let too_many = desired(vec![product("p", &["a", "c"]), product("q", &["a"])], &["j"]);
    let refused = full.apply(too_many, &limits);
    let Err(CatalogRefusal::TooLarge(exceeded)) = refused else { panic!("{refused:?}") };
    let said: Vec<_> = exceeded.iter().map(|it| (it.option, it.count, it.max)).collect();
    assert_eq!(
        said,
        [
            ("organization-products-max", 2, 1),
            // The retired SKU b counts on.
            ("organization-skus-max", 4, 2),
            ("organization-instances-max", 2, 1),
        ]
    );
    // A limit that was lowered refuses growth and nothing else.
    let lowered = CatalogLimits { skus_max: 1, ..limits };
    assert!(full.apply(desired(vec![product("p", &["a"])], &[]), &lowered).is_ok());
    assert!(full.apply(desired(vec![product("p", &["c"])], &[]), &lowered).is_err());
}
