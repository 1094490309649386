//! Whose query runs next: organizations take turns, and so do the clients of one.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use super::computation::Computation;
use crate::domain::id::{ClientId, OrganizationId};

type Starter = (OrganizationId, Option<ClientId>);

/// What waits and what runs.
#[derive(Debug, Default)]
pub(super) struct Turns {
    // In the order of their start.
    waiting: Vec<Arc<Computation>>,
    running: Vec<Arc<Computation>>,
    // When each last had a turn, counted in turns; nothing for those who had none while others waited.
    organizations: HashMap<OrganizationId, u64>,
    clients: HashMap<Starter, u64>,
    turns: u64,
}

/// Whether there is something to wait for: those that were cancelled or removed have nothing.
fn is_wanted(computation: &Computation) -> bool {
    !computation.stop.load(Ordering::Relaxed) && !computation.progress().is_over()
}

fn starter(computation: &Computation) -> Starter {
    (computation.organization.clone(), computation.started_by.clone())
}

impl Turns {
    pub(super) fn add(&mut self, computation: Arc<Computation>) {
        self.waiting.push(computation);
    }

    /// Takes the one whose turn it is: of the organization that has the fewest running, and among those of the one whose
    /// last turn is longest ago; of its clients likewise; the oldest of that one. So many queries of one hold up nobody's few.
    pub(super) fn take(&mut self) -> Option<Arc<Computation>> {
        self.waiting.retain(|computation| is_wanted(computation));
        let rank = |computation: &Computation| {
            let starter = starter(computation);
            let (organization, client) = &starter;
            let of_organization =
                self.running.iter().filter(|running| running.organization == *organization);
            let of_client =
                of_organization.clone().filter(|running| running.started_by == *client).count();
            let last_turn = self.organizations.get(organization).copied().unwrap_or_default();
            let last_of_client = self.clients.get(&starter).copied().unwrap_or_default();
            (of_organization.count(), last_turn, of_client, last_of_client)
        };
        let waiting = self.waiting.iter().enumerate();
        let (at, _) = waiting.min_by_key(|(at, computation)| (rank(computation), *at))?;
        let taken = self.waiting.remove(at);
        self.turns += 1;
        let (organization, client) = starter(&taken);
        self.organizations.insert(organization.clone(), self.turns);
        self.clients.insert((organization, client), self.turns);
        if self.waiting.is_empty() {
            self.organizations.clear();
            self.clients.clear();
        }
        self.running.push(Arc::clone(&taken));
        Some(taken)
    }

    /// Notes that one has had its turn.
    pub(super) fn end(&mut self, computation: &Arc<Computation>) {
        self.running.retain(|running| !Arc::ptr_eq(running, computation));
    }

    pub(super) fn is_running(&self, computation: &Arc<Computation>) -> bool {
        self.running.iter().any(|running| Arc::ptr_eq(running, computation))
    }

    pub(super) fn running(&self) -> &[Arc<Computation>] {
        &self.running
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.iter().filter(|computation| is_wanted(computation)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::usage_queries::testing::computation;

    fn add(turns: &mut Turns, organization: &str, client: &str, count: usize) {
        for number in 0..count {
            let id = format!("{organization}-{client}-{number}");
            turns.add(Arc::new(computation(&id, organization, client)));
        }
    }

    /// The order in which one worker takes everything.
    fn order(turns: &mut Turns) -> Vec<String> {
        let mut order = Vec::new();
        while let Some(taken) = turns.take() {
            turns.end(&taken);
            order.push(taken.id.clone());
        }
        order
    }

    #[test]
    fn organizations_and_their_clients_take_turns() {
        let mut turns = Turns::default();
        add(&mut turns, "alpha", "greedy", 4);
        add(&mut turns, "alpha", "modest", 1);
        add(&mut turns, "beta", "agent", 2);
        let expected = [
            "alpha-greedy-0",
            "beta-agent-0",
            "alpha-modest-0",
            "beta-agent-1",
            "alpha-greedy-1",
            "alpha-greedy-2",
            "alpha-greedy-3",
        ];
        assert_eq!(order(&mut turns), expected);
    }

    #[test]
    fn newcomer_goes_before_those_who_had_turns_but_not_for_ever() {
        let mut turns = Turns::default();
        add(&mut turns, "alpha", "agent", 3);
        let first = turns.take().unwrap();
        turns.end(&first);
        let mut order = Vec::new();
        for round in 0..4 {
            // One that asks again as soon as it is answered.
            turns.add(Arc::new(computation(&format!("beta-{round}"), "beta", "agent")));
            let taken = turns.take().unwrap();
            turns.end(&taken);
            order.push(taken.id.clone());
        }
        assert_eq!(order, ["beta-0", "alpha-agent-1", "beta-1", "alpha-agent-2"]);
    }

    #[test]
    fn the_fewest_running_come_first() {
        let mut turns = Turns::default();
        add(&mut turns, "alpha", "agent", 3);
        assert_eq!(turns.take().unwrap().organization.as_str(), "alpha");
        add(&mut turns, "beta", "agent", 1);
        let taken = turns.take().unwrap();
        assert_eq!(taken.organization.as_str(), "beta");
        assert!(turns.is_running(&taken));
        assert_eq!((turns.running().len(), turns.waiting_count()), (2, 2));
        turns.end(&taken);
        assert!(!turns.is_running(&taken));
    }
}
