//! That a simulation repeats itself, and that it notices what is wrong.

mod defective_store;

use std::sync::Arc;

use self::defective_store::{Defect, DefectiveStore};
use super::{
    auditor::Invariant,
    plan::{Plan, Size},
    report::Outcome,
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

/// Simulates with a defective store; answers which invariants were violated.
fn violated(defect: Defect) -> Vec<&'static str> {
    let state = defective_store::State::new(defect);
    let wrap: Wrap = Box::new(move |sled| Arc::new(DefectiveStore::new(sled, Arc::clone(&state))));
    let outcome = simulated(SMALL, wrap);
    assert_eq!(outcome.result, "FAIL", "nobody noticed {defect:?}");
    assert!(!outcome.examples.is_empty() && outcome.text().contains("\nviolated: "));
    assert!(outcome.text().ends_with("\nFAIL seed=7\n"), "{}", outcome.text());
    let violated = outcome.invariants.iter().filter(|line| line.tally.violated > 0);
    violated.map(|line| line.invariant).collect()
}

#[track_caller]
fn assert_noticed(defect: Defect, by: &[Invariant]) {
    let violated = violated(defect);
    for invariant in by {
        assert!(violated.contains(&invariant.text()), "{invariant} is not among {violated:#?}");
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
fn a_record_that_is_lost_is_noticed() {
    let by = [
        Invariant::Together,
        Invariant::Exact,
        Invariant::Days,
        Invariant::Months,
        Invariant::Listings,
        Invariant::LogIsTruth,
    ];
    assert_noticed(Defect::LosesRecord, &by);
}

#[test]
fn a_record_that_is_counted_twice_is_noticed() {
    let by = [Invariant::Together, Invariant::Exact, Invariant::Days, Invariant::Listings];
    assert_noticed(Defect::CopiesRecord, &by);
}

#[test]
fn a_duplicate_that_is_called_new_is_noticed() {
    assert_noticed(Defect::AcceptsDuplicates, &[Invariant::CountedOnce]);
}

#[test]
fn a_report_that_is_off_by_a_quarter_of_an_hour_is_noticed() {
    let by = [Invariant::Days, Invariant::Hours];
    assert_noticed(Defect::ShiftsReports, &by);
}

#[test]
fn a_record_that_another_organization_sees_is_noticed() {
    assert_noticed(Defect::ShowsOthersRecords, &[Invariant::Apart]);
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
