//! A queue for a few threads that organizations take in turn, and within each organization its clients.
//!
//! Reads cannot be interrupted, so taking turns is not enough: an organization with a few long reads would hold all
//! threads. It therefore gets only a part of them, and whoever queues behind it is served by the others.

use std::collections::{HashMap, VecDeque};

use crate::{
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId},
    },
    service::committer::Admission,
};

/// Bounds of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// Reads that run at once.
    pub(super) running_max: usize,
    /// Those of one organization.
    pub(super) organization_running_max: usize,
    /// Reads of one organization that may wait; one client may have three quarters of them.
    pub(super) organization_waiting_max: usize,
}

impl QueueLimits {
    fn client_waiting_max(&self) -> usize {
        let quarter = self.organization_waiting_max / 4;
        (self.organization_waiting_max - quarter).max(1)
    }
}

/// Which limit a read was refused for, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueFull {
    /// As many reads of the organization wait as may.
    Organization(usize),
    /// As many reads of the client wait as may.
    Client(usize),
}

/// Names a read from its entry to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// Who waits, each with what wakes it, and how many run.
#[derive(Debug)]
pub(super) struct FairQueue<W> {
    limits: QueueLimits,
    // Those with a read that waits or runs.
    organizations: HashMap<OrganizationId, Organization<W>>,
    // Those with a read that waits, each once, the next one first.
    turns: VecDeque<OrganizationId>,
    running: usize,
    waiting: usize,
    last_ticket: u64,
}

#[derive(Debug)]
struct Organization<W> {
    running: usize,
    // Waiting reads that count towards the limit.
    refusable: usize,
    // Those with a read that waits.
    clients: HashMap<ClientId, Client<W>>,
    // The same, each once, the next one first.
    turns: VecDeque<ClientId>,
}

#[derive(Debug)]
struct Client<W> {
    refusable: usize,
    reads: VecDeque<WaitingRead<W>>,
}

#[derive(Debug)]
struct WaitingRead<W> {
    ticket: Ticket,
    admission: Admission,
    wake: W,
}

// Derived, these would ask for a default of `W`.
impl<W> Default for Organization<W> {
    fn default() -> Self {
        Self { running: 0, refusable: 0, clients: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<W> Default for Client<W> {
    fn default() -> Self {
        Self { refusable: 0, reads: VecDeque::new() }
    }
}

impl<W> FairQueue<W> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            organizations: HashMap::new(),
            turns: VecDeque::new(),
            running: 0,
            waiting: 0,
            last_ticket: 0,
        }
    }

    /// Reads that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether one more read of the caller may wait, if it is one that can be refused. One that starts at once always
    /// may.
    ///
    /// # Errors
    /// [`QueueFull`] if as many wait as may.
    pub(super) fn check_limits(&self, caller: &Caller) -> Result<(), QueueFull> {
        let Some(organization) = self.organizations.get(&caller.organization) else {
            return Ok(());
        };
        let starts_at_once = organization.turns.is_empty()
            && organization.running < self.limits.organization_running_max
            && self.running < self.limits.running_max;
        if starts_at_once {
            return Ok(());
        }
        let organization_max = self.limits.organization_waiting_max;
        if organization.refusable >= organization_max {
            return Err(QueueFull::Organization(organization_max));
        }
        let client_max = self.limits.client_waiting_max();
        let of_client = organization.clients.get(&caller.client);
        if of_client.is_some_and(|client| client.refusable >= client_max) {
            return Err(QueueFull::Client(client_max));
        }
        Ok(())
    }

    /// Lets a read wait for its turn, which [`Self::next`] gives it. It counts towards the limits if `admission` says to
    /// refuse; those that are to wait are bounded by whoever lets their calls in.
    pub(super) fn enter(&mut self, caller: &Caller, admission: Admission, wake: W) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let organization = self.organizations.entry(caller.organization.clone()).or_default();
        if organization.turns.is_empty() {
            self.turns.push_back(caller.organization.clone());
        }
        let client = organization.clients.entry(caller.client.clone()).or_default();
        if client.reads.is_empty() {
            organization.turns.push_back(caller.client.clone());
        }
        client.reads.push_back(WaitingRead { ticket, admission, wake });
        let counted = usize::from(admission == Admission::Refuse);
        client.refusable += counted;
        organization.refusable += counted;
        self.waiting += 1;
        ticket
    }

    /// Starts the read whose turn it is, if there is a thread for one; what wakes it.
    pub(super) fn next(&mut self) -> Option<W> {
        if self.running >= self.limits.running_max {
            return None;
        }
        // An organization with as many threads as it may have keeps its place for when one of them is free.
        let running_max = self.limits.organization_running_max;
        let at = self.turns.iter().position(|id| {
            self.organizations.get(id).is_some_and(|found| found.running < running_max)
        })?;
        let id = self.turns.remove(at)?;
        let organization = self.organizations.get_mut(&id)?;
        let read = organization.take_next()?;
        organization.running += 1;
        self.running += 1;
        self.waiting -= 1;
        if !organization.turns.is_empty() {
            self.turns.push_back(id);
        }
        Some(read.wake)
    }

    /// Ends a read that runs, or takes one out that still waits.
    pub(super) fn leave(&mut self, caller: &Caller, ticket: Ticket) {
        let Some(organization) = self.organizations.get_mut(&caller.organization) else { return };
        if organization.take(&caller.client, ticket) {
            self.waiting -= 1;
            if organization.turns.is_empty() {
                self.turns.retain(|id| *id != caller.organization);
            }
        } else {
            organization.running -= 1;
            self.running -= 1;
        }
        if organization.running == 0 && organization.turns.is_empty() {
            self.organizations.remove(&caller.organization);
        }
    }
}

impl<W> Organization<W> {
    fn take_next(&mut self) -> Option<WaitingRead<W>> {
        let id = self.turns.pop_front()?;
        let client = self.clients.get_mut(&id)?;
        let read = client.reads.pop_front()?;
        let counted = usize::from(read.admission == Admission::Refuse);
        client.refusable -= counted;
        self.refusable -= counted;
        if client.reads.is_empty() {
            self.clients.remove(&id);
        } else {
            self.turns.push_back(id);
        }
        Some(read)
    }

    /// Takes a waiting read out; whether it was there.
    fn take(&mut self, client_id: &ClientId, ticket: Ticket) -> bool {
        let Some(client) = self.clients.get_mut(client_id) else { return false };
        let at = client.reads.iter().position(|read| read.ticket == ticket);
        let Some(read) = at.and_then(|at| client.reads.remove(at)) else { return false };
        let counted = usize::from(read.admission == Admission::Refuse);
        client.refusable -= counted;
        self.refusable -= counted;
        if client.reads.is_empty() {
            self.clients.remove(client_id);
            self.turns.retain(|id| id != client_id);
        }
        true
    }
}

#[cfg(test)]
mod tests;
