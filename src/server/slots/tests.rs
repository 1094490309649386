use super::{
    table::{Eviction, Shares, Table},
    *,
};
use crate::domain::id::{ClientId, OrganizationId};

fn caller(organization: &str, client: &str) -> Caller {
    Caller {
        organization: OrganizationId::new(organization).unwrap(),
        client: ClientId::new(client).unwrap(),
    }
}

/// A table whose shares are too large to matter.
fn table(slots: usize) -> Table {
    Table::new(shares(slots))
}

fn shares(slots: usize) -> Shares {
    Shares { slots, authenticated: slots, client: slots, organization: slots, operators: 2 }
}

fn enter(table: &mut Table) -> Arc<Connection> {
    table.enter(0).unwrap().0
}

/// A connection with one permitted call that ended at `now_ms`.
fn known(table: &mut Table, caller: &Caller, now_ms: u64) -> Arc<Connection> {
    let connection = enter(table);
    table.authenticate(&connection, caller, false, true);
    connection.call_began();
    connection.call_ended(now_ms);
    connection
}

fn is_gone(connection: &Connection) -> bool {
    connection.standing() == connection::Standing::Gone
}

#[test]
fn full_slots_evict_oldest_unauthenticated() {
    let mut table = table(3);
    let agent = known(&mut table, &caller("acme", "agent"), 0);
    let (oldest, younger) = (enter(&mut table), enter(&mut table));
    let (newest, eviction) = table.enter(1).unwrap();
    assert_eq!(eviction, Some(Eviction::Unauthenticated));
    assert!(is_gone(&oldest) && !is_gone(&younger) && agent.is_authenticated());
    table.leave(&newest);
    assert_eq!(table.enter(2).unwrap().1, None, "a slot was free");
}

#[test]
fn full_slots_of_authenticated_evict_idle_of_greediest() {
    let mut table = table(4);
    let (few, many) = (caller("acme", "few"), caller("globex", "many"));
    let only = known(&mut table, &few, 1);
    let (longer, busy, shorter) =
        (known(&mut table, &many, 5), known(&mut table, &many, 4), known(&mut table, &many, 6));
    busy.call_began();
    let (newcomer, eviction) = table.enter(9).unwrap();
    assert_eq!(eviction, Some(Eviction::Idle));
    assert!(is_gone(&longer) && ![&only, &busy, &shorter].into_iter().any(|each| is_gone(each)));
    // The next one takes the slot of the newcomer, not one of those who call.
    assert_eq!(table.enter(9).unwrap().1, Some(Eviction::Unauthenticated));
    assert!(is_gone(&newcomer) && !is_gone(&shorter));
}

#[test]
fn client_over_its_share_loses_its_longest_idle() {
    let mut table = Table::new(Shares { client: 2, ..shares(9) });
    let (agent, other) = (caller("acme", "agent"), caller("acme", "other"));
    let others = known(&mut table, &other, 0);
    let (first, second) = (known(&mut table, &agent, 7), known(&mut table, &agent, 3));
    let third = enter(&mut table);
    assert_eq!(table.authenticate(&third, &agent, false, true), [Eviction::ClientShare]);
    assert!(is_gone(&second) && third.is_authenticated());
    first.call_began();
    third.call_began();
    let fourth = enter(&mut table);
    assert!(table.authenticate(&fourth, &agent, false, true).is_empty());
    assert!(!fourth.is_authenticated(), "nothing of its client is idle");
    assert!(!is_gone(&fourth) && !is_gone(&others));
}

#[test]
fn organization_over_its_share_loses_idle_of_greediest() {
    let mut table = Table::new(Shares { organization: 3, ..shares(9) });
    let other = known(&mut table, &caller("globex", "agent"), 0);
    let (a, b) = (caller("acme", "a"), caller("acme", "b"));
    let (first, second) = (known(&mut table, &a, 2), known(&mut table, &a, 1));
    let only = known(&mut table, &b, 0);
    let fourth = enter(&mut table);
    assert_eq!(table.authenticate(&fourth, &b, false, true), [Eviction::OrganizationShare]);
    assert!(is_gone(&second) && fourth.is_authenticated());
    assert!(![&first, &only, &other].into_iter().any(|each| is_gone(each)));
}

#[test]
fn authenticated_connections_leave_slots_to_newcomers() {
    let mut table = Table::new(Shares { authenticated: 2, ..shares(3) });
    let agent = caller("acme", "agent");
    let (first, second) = (known(&mut table, &agent, 1), known(&mut table, &agent, 2));
    let third = enter(&mut table);
    assert_eq!(table.authenticate(&third, &agent, false, true), [Eviction::Idle]);
    assert!(is_gone(&first) && !is_gone(&second) && third.is_authenticated());
    assert_eq!(table.authenticated(), 2);
    assert_eq!(table.enter(3).unwrap().1, None);
}

#[test]
fn idle_and_deleted_clients_become_unauthenticated() {
    let mut table = table(9);
    let (agent, deleted) = (caller("acme", "agent"), caller("acme", "deleted"));
    let (idle, recent, busy) =
        (known(&mut table, &agent, 0), known(&mut table, &agent, 80), known(&mut table, &agent, 0));
    busy.call_began();
    let of_deleted = known(&mut table, &deleted, 90);
    of_deleted.call_began();
    table.demote(100, 100, |caller| *caller == deleted);
    let authenticated =
        [&idle, &recent, &busy, &of_deleted].map(|connection| connection.is_authenticated());
    assert_eq!(authenticated, [false, true, true, false]);
    assert_eq!(table.authenticated(), 2);
    // They may come back.
    table.authenticate(&idle, &agent, false, true);
    assert!(idle.is_authenticated());
}

#[test]
fn caller_who_is_no_registered_client_is_not_taken_for_deleted() {
    let mut table = table(2);
    let connection = enter(&mut table);
    table.authenticate(&connection, &caller("acme", "outside"), false, false);
    table.demote(0, 100, |_| true);
    assert!(connection.is_authenticated());
}

#[test]
fn operator_gets_in_when_all_slots_are_busy() {
    let mut table = table(2);
    let agent = caller("acme", "agent");
    for _ in 0..2 {
        known(&mut table, &agent, 0).call_began();
    }
    let operator = caller("default", "admin");
    let (connection, eviction) = table.enter(0).unwrap();
    assert_eq!(eviction, None);
    table.authenticate(&connection, &operator, true, true);
    assert!(connection.is_known(true));
    assert_eq!(table.lapse(&connection), None, "it is kept");
    // Whoever else comes has what is left, one after another.
    let second = enter(&mut table);
    table.authenticate(&second, &agent, false, true);
    assert!(!second.is_authenticated());
    let (third, eviction) = table.enter(0).unwrap();
    assert_eq!(eviction, Some(Eviction::OperatorSlot));
    assert!(is_gone(&second) && !is_gone(&connection));
    assert_eq!(table.lapse(&third), Some(Eviction::OperatorSlot));
    assert!(is_gone(&third));
}

#[test]
fn operators_slots_that_are_all_busy_refuse_newcomers() {
    let mut table = table(1);
    known(&mut table, &caller("acme", "agent"), 0).call_began();
    let operator = caller("default", "admin");
    let operators: Vec<_> = (0..2).map(|_| enter(&mut table)).collect();
    for connection in &operators {
        table.authenticate(connection, &operator, true, false);
        connection.call_began();
    }
    assert!(table.enter(0).is_none());
    let [first, second] = &operators[..] else { unreachable!("there are two") };
    first.call_ended(2);
    second.call_ended(1);
    assert_eq!(table.enter(3).unwrap().1, Some(Eviction::OperatorSlot));
    assert!(is_gone(second) && !is_gone(first));
}

#[test]
fn connection_in_operators_slot_moves_when_another_is_free() {
    let mut table = table(1);
    let agent = caller("acme", "agent");
    let busy = known(&mut table, &agent, 0);
    busy.call_began();
    let (waiting, lapsing) = (enter(&mut table), enter(&mut table));
    table.leave(&busy);
    table.authenticate(&waiting, &agent, false, true);
    assert!(waiting.is_authenticated() && !waiting.has_operator_slot());
    table.leave(&waiting);
    assert_eq!(table.lapse(&lapsing), None);
    assert!(!lapsing.has_operator_slot() && !is_gone(&lapsing));
}

#[test]
fn connections_that_left_are_forgotten() {
    let mut table = table(2);
    let agent = caller("acme", "agent");
    for now in 0..1000 {
        let connection = known(&mut table, &agent, now);
        table.leave(&connection);
        assert_eq!(table.authenticated(), 0);
    }
    let all: Vec<_> = (0..2).map(|_| table.enter(0).unwrap().1).collect();
    assert_eq!(all, [None, None]);
}
