use super::*;
use crate::{
    power_loss::crash::{Replay, Synced, honest},
    support::disk::{Change, Event, ROOT, Tree},
};

const FILE: Inode = 2;

fn write(offset: usize, byte: u8, bytes: usize) -> Event {
    Event::Change(Change::Write { inode: FILE, offset, bytes: vec![byte; bytes] })
}

/// A file whose first four sectors are 1 and durable, and then written over with 2 and 3, and grown.
fn events() -> Vec<Event> {
    vec![
        Event::Change(Change::CreateFile { parent: ROOT, name: "db".into(), inode: FILE }),
        write(0, 1, 2048),
        Event::SyncFile { inode: FILE, data_only: true },
        Event::SyncDirectory { inode: ROOT },
        write(0, 2, 1024),
        write(512, 3, 4096),
    ]
}

fn cuts(events: &[Event], ignores: fn(Synced<'_>) -> bool) -> Vec<(Survival, Tree)> {
    let mut replay = Replay::new(ignores);
    events.iter().for_each(|event| replay.apply(event));
    let draws = (0..300).flat_map(|seed| Survival::ALL.map(|survival| (seed, survival)));
    draws.map(|(seed, how)| (how, replay.cut(&mut Random::new(seed), how))).collect()
}

#[test]
fn what_was_synced_stays_and_the_rest_is_anything_between() {
    let events = events();
    let mut seen = BTreeSet::new();
    for (survival, tree) in cuts(&events, honest) {
        let content = tree.file(FILE).expect("its name was synced");
        assert!(content.len() >= 2048, "{survival:?}");
        assert_eq!(content[1536], content[2047], "sectors are whole");
        assert!([1, 3].contains(&content[1536]), "{survival:?}");
        assert!([1, 2].contains(&content[0]), "{survival:?}");
        assert!([1, 2, 3].contains(&content[512]), "{survival:?}");
        match survival {
            Survival::Nothing => assert_eq!(content[..2048], [1; 2048]),
            Survival::Everything => {
                assert_eq!((content.len(), content[0], content[4607]), (4608, 2, 3));
            }
            _ => {}
        }
        let grown = content.get(4096).copied();
        seen.insert((content[0], content[512], content[1536], content.len(), grown == Some(3)));
    }
    // Reordered, torn, and sizes without bytes.
    for expected in [
        (1, 3, 1, 4608, false),
        (2, 1, 1, 2048, false),
        (1, 1, 3, 4608, true),
        (2, 3, 3, 2048, false),
    ] {
        assert!(seen.contains(&expected), "{expected:?} never came: {seen:?}");
    }
}

#[test]
fn names_live_by_the_sync_of_their_directory_alone() {
    let mut events = events();
    assert!(cuts(&events, honest).iter().all(|(_, tree)| tree.find("db") == Some(FILE)));
    events.push(Event::Change(Change::Rename {
        parent: ROOT,
        from: "db".into(),
        to: "new".into(),
    }));
    let found = |tree: &Tree| (tree.find("db").is_some(), tree.find("new").is_some());
    let outcomes: BTreeSet<_> = cuts(&events, honest).iter().map(|(_, tree)| found(tree)).collect();
    assert_eq!(outcomes, BTreeSet::from([(true, false), (false, true)]));
    let lazy = |synced: Synced<'_>| synced == Synced::Directory;
    let lost = |(_, tree): &(Survival, Tree)| found(tree) == (false, false);
    assert!(cuts(&events, lazy).iter().any(lost));
}

#[test]
fn a_sync_after_one_that_failed_is_not_trusted() {
    let mut events = events();
    events.push(Event::SyncFailed { inode: FILE });
    events.push(Event::SyncFile { inode: FILE, data_only: false });
    let lost = cuts(&events, honest).iter().any(|(_, tree)| tree.file(FILE).unwrap()[0] == 1);
    assert!(lost);
}

#[test]
fn a_power_cut_makes_durable_what_it_left() {
    let mut events = events();
    let (_, left) = cuts(&events, honest).swap_remove(0);
    events.push(Event::PowerCut(left.clone()));
    assert!(cuts(&events, honest).iter().all(|(_, tree)| *tree == left));
}
