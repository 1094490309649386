//! Which kinds of entries are in which section of a backup.

use crate::store::{backup::BackupSection, sled::keyspace::KeySpace};

/// Kinds of entries that hold a run.
pub(super) const RUN_SPACES: [KeySpace; 3] =
    [KeySpace::RunPage, KeySpace::RunFences, KeySpace::RunFilter];
/// Kinds of entries that are rows derived from the log, and what was dropped of them.
pub(super) const ROW_SPACES: [KeySpace; 5] = [
    KeySpace::Rollup,
    KeySpace::AssetRollup,
    KeySpace::ApiRollup,
    KeySpace::ChunkIndex,
    KeySpace::RetiredRow,
];

/// Whether entries of this kind are in a section.
pub(super) fn belongs(section: BackupSection, key: &[u8]) -> bool {
    let Some((first, _)) = key.split_first() else { return false };
    let space = KeySpace::ALL.into_iter().find(|space| *space as u8 == *first);
    space.is_some_and(|space| section_of(space) == section)
}

/// In which section entries of a kind are. There is none that a backup leaves out.
fn section_of(space: KeySpace) -> BackupSection {
    match space {
        KeySpace::Manifest
        | KeySpace::RunPage
        | KeySpace::RunFences
        | KeySpace::RunFilter
        | KeySpace::Rollup
        | KeySpace::AssetRollup
        | KeySpace::ApiRollup
        | KeySpace::LogFloor
        | KeySpace::ChunkIndex
        | KeySpace::RetiredRow
        | KeySpace::UsageBatch => BackupSection::Index,
        KeySpace::Format
        | KeySpace::Organization
        | KeySpace::CatalogProduct
        | KeySpace::CatalogSku
        | KeySpace::CatalogInstance
        | KeySpace::CatalogAsset
        | KeySpace::OrganizationDocument
        | KeySpace::ClientDocument
        | KeySpace::AuditEvent
        | KeySpace::QueryDocument
        | KeySpace::Page => BackupSection::State,
        KeySpace::Log => BackupSection::Log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sled::state;

    #[test]
    fn a_backup_reads_every_kind_of_entry() {
        let beside_runs = [KeySpace::Manifest, KeySpace::UsageBatch, KeySpace::LogFloor];
        let index = [&RUN_SPACES[..], &ROW_SPACES, &beside_runs];
        let beside = [&state::SPACES[..], &[KeySpace::Format, KeySpace::Organization]];
        let read = [
            (BackupSection::Index, index.concat()),
            (BackupSection::State, beside.concat()),
            (BackupSection::Log, vec![KeySpace::Log]),
        ];
        for (section, mut spaces) in read {
            spaces.sort();
            let of_section =
                KeySpace::ALL.into_iter().filter(|space| section_of(*space) == section);
            assert_eq!(spaces, of_section.collect::<Vec<_>>());
        }
    }
}
