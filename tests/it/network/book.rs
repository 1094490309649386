//! What all hosts of a simulation write into. They run on one thread.

use std::{
    cell::{RefCell, RefMut},
    fmt,
    rc::Rc,
    time::Duration,
};

use super::{
    ledger::Ledger,
    trace::{Figures, Trace},
};

#[derive(Debug, Default)]
pub struct Pages {
    pub ledger: Ledger,
    pub trace: Trace,
    pub figures: Figures,
}

#[derive(Debug, Clone, Default)]
pub struct Book(Rc<RefCell<Pages>>);

impl Book {
    pub fn open(&self) -> RefMut<'_, Pages> {
        self.0.borrow_mut()
    }

    /// Notes what a host does, at the time of the simulation.
    pub fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let now = turmoil::sim_elapsed().expect("called on a host");
        self.note_at(now, who, what);
    }

    pub fn note_at(&self, at: Duration, who: &str, what: fmt::Arguments<'_>) {
        self.open().trace.note(at, who, what);
    }

    pub fn count(&self, name: impl Into<String>) {
        self.open().figures.add(name, 1);
    }

    pub fn violate(&self, text: impl Into<String>) {
        self.open().ledger.violate(text);
    }
}
