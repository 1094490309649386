//! A signed checkpoint, and its file.

use std::path::Path;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::keys::{PrivateKey, PublicKey};
use crate::{
    cli::{
        CommandError, CommandResult,
        hexadecimal::{hexadecimal, link},
    },
    domain::usage::LogSequence,
    store::{LogHead, LogPosition},
};

const FORMAT: u32 = 1;

/// Where a log ended, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct SignedHead {
    format: u32,
    store_id: String,
    sequence: u64,
    /// Hexadecimal.
    link: String,
    /// Ed25519, base64, of [`Self::message`].
    signature: String,
}

impl SignedHead {
    pub(super) fn sign(head: &LogHead, key: &PrivateKey) -> Self {
        let unsigned = Self {
            format: FORMAT,
            store_id: head.store_id.to_string(),
            sequence: head.position.sequence.0,
            link: hexadecimal(&head.position.link),
            signature: String::new(),
        };
        let signature = STANDARD.encode(key.sign(unsigned.message().as_bytes()));
        Self { signature, ..unsigned }
    }

    /// What is signed. Says what it is, so that the signature can stand for nothing else.
    fn message(&self) -> String {
        let Self { format, store_id, sequence, link, signature: _ } = self;
        format!("meterd checkpoint {format}\n{store_id}\n{sequence}\n{link}\n")
    }

    pub(super) fn to_json(&self) -> CommandResult<String> {
        let mut text = serde_json::to_string_pretty(self).context("cannot write the checkpoint")?;
        text.push('\n');
        Ok(text)
    }

    pub(in crate::cli) fn read(path: &Path) -> CommandResult<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, path)
    }

    pub(super) fn parse(text: &[u8], path: &Path) -> CommandResult<Self> {
        let signed: Self = serde_json::from_slice(text)
            .with_context(|| format!("{} is no checkpoint", path.display()))?;
        if signed.format != FORMAT {
            return Err(CommandError::failed(format!(
                "{} is of format {}; this program knows format {FORMAT}",
                path.display(),
                signed.format
            )));
        }
        Ok(signed)
    }

    /// What was signed, if it was by the owner of `key`.
    pub(in crate::cli) fn head(&self, key: &PublicKey) -> CommandResult<LogHead> {
        let signature = STANDARD.decode(&self.signature).unwrap_or_default();
        if !key.signed(self.message().as_bytes(), &signature) {
            return Err(CommandError::failed(
                "the checkpoint was changed, or another key signed it",
            ));
        }
        let link = link(&self.link)
            .ok_or_else(|| CommandError::failed("the checkpoint's link is not a SHA-256"))?;
        let store_id = self.store_id.parse().context("the checkpoint names no store")?;
        let position = LogPosition { sequence: LogSequence(self.sequence), link };
        Ok(LogHead { store_id, position })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn head() -> LogHead {
        let position = LogPosition { sequence: LogSequence(42), link: [0xa5; 32] };
        LogHead { store_id: Uuid::from_u128(7), position }
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let (private, public) = PrivateKey::of_seed([1; 32]);
        let signed = SignedHead::sign(&head(), &private);
        let read: SignedHead = serde_json::from_str(&signed.to_json().unwrap()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.head(&public).unwrap(), head());
    }

    #[test]
    fn nothing_can_be_changed() {
        let (private, public) = PrivateKey::of_seed([1; 32]);
        let signed = SignedHead::sign(&head(), &private);
        let (_, other) = PrivateKey::of_seed([2; 32]);
        assert!(signed.head(&other).is_err());
        for changed in [
            SignedHead { sequence: 41, ..signed.clone() },
            SignedHead { store_id: Uuid::from_u128(8).to_string(), ..signed.clone() },
            SignedHead { link: signed.link.replacen('a', "b", 1), ..signed.clone() },
            SignedHead { signature: String::new(), ..signed.clone() },
        ] {
            assert!(changed.head(&public).is_err(), "{changed:?}");
        }
    }
}
