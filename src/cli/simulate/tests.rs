//! That a simulation repeats itself, and that it notices what is wrong.

mod defect;
mod defective_store;

use std::sync::Arc;

use self::{
    defect::{Defect, State},
    defective_store::DefectiveStore,
};
use super::{
    auditor::Invariant,
    plan::{Plan, Size},
    report::{Line, Outcome},
    simulate,
    simulation::Simulation,
    world::{Wrap, plain},
};

/// Enough of everything for a defect to show.
const SMALL: Size = Size { seed: 7, days: 4, customers: 16 };

fn simulated(size: Size, wrap: Wrap) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("store");
    simulate(size, &data_dir, wrap, Arc::default()).unwrap()
}

/// Simulates with a defective store: the invariants that the defect violates are reported as violated.
#[track_caller]
fn assert_noticed(defect: Defect) {
    let state = State::new(defect);
    let wrap: Wrap = Box::new(move |sled| Arc::new(DefectiveStore::new(sled, Arc::clone(&state))));
    let outcome = simulated(SMALL, wrap);
    let text = outcome.text();
    assert!(!outcome.has_passed() && text.ends_with("\nFAIL seed=7\n"), "{defect:?}: {text}");
    assert!(text.contains("\nviolated: "), "{text}");
    for invariant in defect.violates() {
        let is_its_own = |line: &&Line| line.invariant == invariant.text();
        let line = outcome.invariants.iter().find(is_its_own).unwrap();
        assert!(line.tally.violated > 0, "{defect:?} was not noticed by {invariant}: {text}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let [first, second] = [(); 2].map(|()| {
        let outcome = simulated(SMALL, Box::new(plain));
        assert_eq!(outcome.violations, 0, "{}", outcome.text());
        Outcome { wall_seconds: 0.0, ..outcome }
    });
    assert_eq!(first, second);
    let other = simulated(Size { seed: 8, ..SMALL }, Box::new(plain));
    assert_eq!(other.violations, 0, "{}", other.text());
    assert_ne!(first.simulated, other.simulated);
}

#[test]
fn a_single_customer_and_a_single_day_are_enough() {
    for seed in 0..3 {
        let outcome = simulated(Size { seed, days: 1, customers: 1 }, Box::new(plain));
        assert_eq!(outcome.violations, 0, "{}", outcome.text());
    }
}

#[test]
fn every_invariant_can_be_violated() {
    let noticing: Vec<&Invariant> = Defect::ALL.iter().flat_map(|it| it.violates()).collect();
    for invariant in Invariant::ALL {
        assert!(noticing.contains(&invariant), "no defect violates {invariant}");
    }
}

#[test]
fn a_record_that_is_lost_is_noticed() {
    assert_noticed(Defect::LosesRecord);
}

#[test]
fn a_record_that_is_counted_twice_is_noticed() {
    assert_noticed(Defect::CopiesRecord);
}

#[test]
fn a_duplicate_that_is_called_new_is_noticed() {
    assert_noticed(Defect::AcceptsDuplicates);
}

#[test]
fn a_failed_write_that_is_acknowledged_is_noticed() {
    assert_noticed(Defect::AcknowledgesFailedWrite);
}

#[test]
fn a_stored_time_that_is_wrong_is_noticed() {
    assert_noticed(Defect::StoresWrongTimes);
}

#[test]
fn a_record_that_cannot_be_found_is_noticed() {
    assert_noticed(Defect::FindsNothing);
}

#[test]
fn a_record_that_another_organization_sees_is_noticed() {
    assert_noticed(Defect::ShowsOthersRecords);
}

#[test]
fn a_total_that_is_off_by_a_quarter_of_an_hour_is_noticed() {
    assert_noticed(Defect::ShiftsTotals);
}

#[test]
fn a_total_that_is_off_by_one_is_noticed() {
    assert_noticed(Defect::MiscountsTotals);
}

#[test]
fn a_total_of_api_usage_that_is_lost_is_noticed() {
    assert_noticed(Defect::LosesApiTotal);
}

#[test]
fn a_total_of_assets_that_is_lost_is_noticed() {
    assert_noticed(Defect::LosesAssetTotal);
}

#[test]
fn a_sku_that_is_forgotten_is_noticed() {
    assert_noticed(Defect::ForgetsSku);
}

#[test]
fn a_model_that_expects_one_more_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("store");
    let plan = Plan::new(SMALL).unwrap();
    let mut simulation = Simulation::new(plan, &data_dir, Box::new(plain), Arc::default()).unwrap();
    simulation.day(0).unwrap();
    simulation.model.product.expect_one_more();
    for day in 1..SMALL.days {
        simulation.day(day).unwrap();
    }
    simulation.finish().unwrap();
    for invariant in [Invariant::Durable, Invariant::Days, Invariant::Invoices, Invariant::Listings]
    {
        // Invoices, days and records of the engine agree with each other: it is the model that is wrong.
        let is_violated = simulation.auditor.tallies()[&invariant].violated > 0;
        assert_eq!(is_violated, invariant != Invariant::Invoices, "{invariant}");
    }
}
