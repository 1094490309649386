//! Events of API usage, in the totals.

use std::collections::{BTreeMap, BTreeSet};

use meterd::{
    domain::api_usage::{ApiTotalsQuery, StatusClass},
    store::UsageStore,
};

use super::{ORGANIZATION, days};
use crate::{
    network::{
        plan::Plan,
        reader::Sum,
        usage::{Event, Identity, Report},
    },
    support::usage::{api_totals, organization},
};

fn events_of(plan: &Plan) -> BTreeMap<Identity, &Event> {
    let events = plan.orders().filter_map(|order| match &order.report {
        Report::Events(events) => Some(events),
        _ => None,
    });
    events.flatten().map(|event| (Identity::Event(event.uuid), event)).collect()
}

pub fn check_events(
    store: &dyn UsageStore,
    plan: &Plan,
    certain: &BTreeSet<Identity>,
    sent: &BTreeSet<Identity>,
    violations: &mut Vec<String>,
) {
    let query = ApiTotalsQuery {
        organization: organization(ORGANIZATION),
        days: days(),
        filter: Default::default(),
    };
    let mut counted: BTreeMap<(String, StatusClass), Sum> = BTreeMap::new();
    for (series, _, class, total) in api_totals(store, &query) {
        let sum = counted.entry((series.template_uri.to_string(), class)).or_default();
        sum.count += total.records;
        sum.quantity += total.quantity;
    }
    let mut bounds: BTreeMap<(String, StatusClass), (Sum, Sum)> = BTreeMap::new();
    for (identity, event) in events_of(plan) {
        let class = match event.status {
            200..300 => StatusClass::Success,
            400..500 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        };
        let (least, most) = bounds.entry((event.template.to_owned(), class)).or_default();
        if certain.contains(&identity) {
            least.add(1, event.count);
        }
        if sent.contains(&identity) {
            most.add(1, event.count);
        }
    }
    for (key, sum) in &counted {
        let (least, most) = bounds.remove(key).unwrap_or_default();
        let is_between = least.count <= sum.count
            && sum.count <= most.count
            && least.quantity <= sum.quantity
            && sum.quantity <= most.quantity;
        if !is_between {
            violations.push(format!("{key:?}: counted {sum:?}, not {least:?} to {most:?}"));
        }
    }
    for (key, (least, _)) in bounds {
        if least != Sum::default() {
            violations.push(format!("{key:?}: {least:?} are lost"));
        }
    }
}
