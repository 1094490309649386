//! Signed checkpoints, made up and damaged.

use std::path::Path;

use super::{keys::PrivateKey, signed::SignedHead};
use crate::{
    domain::{
        fuzzing::{Choices, damaged, made_up},
        usage::LogSequence,
    },
    store::{LINK_BYTES, LogHead, LogPosition},
};

/// A checkpoint is taken for what was signed, from its signer alone, and whatever else a file says is refused.
pub(in crate::cli) fn checkpoint(choices: &mut Choices<'_>) {
    let (signer, public) = PrivateKey::of_seed([1; 32]);
    let (_, other) = PrivateKey::of_seed([2; 32]);
    let read = |text: &[u8]| SignedHead::parse(text, Path::new("checkpoint")).ok();
    let position =
        LogPosition { sequence: LogSequence(choices.number()), link: [choices.byte(); LINK_BYTES] };
    let head = LogHead { store_id: made_up::uuid(choices), position };
    let signed = SignedHead::sign(&head, &signer);
    let text = signed.to_json().expect("texts and numbers").into_bytes();
    assert_eq!(read(&text), Some(signed.clone()));
    assert_eq!(signed.head(&public).ok(), Some(head));
    assert!(signed.head(&other).is_err());
    if let Some(taken) = read(&damaged(text, choices)).and_then(|read| read.head(&public).ok()) {
        assert_eq!(taken, head);
    }
    // Nobody has signed with the other key.
    assert!(read(choices.rest()).is_none_or(|read| read.head(&other).is_err()));
}
