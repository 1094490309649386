//! The manifest: which runs make up the index, which are being removed, and up to where the log is
//! covered by them and by the stored totals. One value, replaced in one write.
//!
//! Body, version 2: checkpoint:u64 | next_run:u32 | runs:u16 { id level pages filter_blocks:u32
//! keys:u64 first:20 last:20 } | dead:u16 { id:u32 } | chunks_indexed_after:u64. Version 1 ends before the last.

use super::{key::UuidKey, run::RunSummary};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::{
            codec::{self, Malformed, Reader},
            engine::Engine,
            faults::FaultPoint,
            keyspace::KeySpace,
        },
    },
};

pub(super) const VERSION: u8 = 2;
/// From before there was a chunk index. Still read.
const VERSION_WITHOUT_CHUNK_INDEX: u8 = 1;

/// The state of the index on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::store::sled) struct Manifest {
    /// Everything up to this sequence is in the runs and in the stored totals.
    pub(in crate::store::sled) checkpoint: LogSequence,
    /// The id of the next run to be written.
    pub(in crate::store::sled) next_run: u32,
    /// The runs, oldest first within a level.
    pub(in crate::store::sled) runs: Vec<RunSummary>,
    /// Runs whose pages are being removed.
    pub(in crate::store::sled) dead: Vec<u32>,
    /// The chunk index knows every chunk after this sequence, and none up to it.
    pub(in crate::store::sled) chunks_indexed_after: LogSequence,
}

impl Manifest {
    /// Reads the manifest; a store without one is new.
    pub(in crate::store::sled) fn load(engine: &Engine) -> Result<Self, StoreError> {
        let key = KeySpace::Manifest.only();
        let Some(value) = engine.get(&key)? else { return Ok(Self::default()) };
        Self::decode(&value)
    }

    /// Reads the value of the manifest's entry.
    pub(in crate::store::sled) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let key = KeySpace::Manifest.only();
        let read = || match codec::open_frame(value, VERSION, &key) {
            Ok(body) => {
                let mut reader = Reader::new(body);
                let mut manifest = Self::parse(&mut reader)?;
                manifest.chunks_indexed_after = LogSequence(reader.u64()?);
                reader.end().map(|()| manifest)
            }
            Err(Malformed::Version(VERSION_WITHOUT_CHUNK_INDEX)) => {
                let body = codec::open_frame(value, VERSION_WITHOUT_CHUNK_INDEX, &key)?;
                let mut reader = Reader::new(body);
                let manifest = Self::parse(&mut reader)?;
                reader.end().map(|()| manifest)
            }
            Err(error) => Err(error),
        };
        read().map_err(codec::damaged("uuid index manifest"))
    }

    /// What both versions have. What comes after the checkpoint is replayed, and so is in the chunk index.
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let checkpoint = LogSequence(reader.u64()?);
        let next_run = reader.u32()?;
        let runs = (0..reader.u16()?)
            .map(|_| {
                Ok(RunSummary {
                    id: reader.u32()?,
                    level: reader.u32()?,
                    pages: reader.u32()?,
                    filter_blocks: reader.u32()?,
                    keys: reader.u64()?,
                    first: UuidKey::from_bytes(reader.array()?),
                    last: UuidKey::from_bytes(reader.array()?),
                })
            })
            .collect::<Result<_, Malformed>>()?;
        let dead = (0..reader.u16()?).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        Ok(Self { checkpoint, next_run, runs, dead, chunks_indexed_after: checkpoint })
    }

    /// Replaces the manifest on disk; durable on return.
    pub(in crate::store::sled) fn store(&self, engine: &Engine) -> Result<(), StoreError> {
        engine.pass(FaultPoint::ManifestWrite)?;
        engine.stage(&KeySpace::Manifest.only(), &self.encode()?)?;
        engine.flush()?;
        engine.pass(FaultPoint::ManifestPublish)
    }

    /// The value of the manifest's entry.
    pub(in crate::store::sled) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let key = KeySpace::Manifest.only();
        let too_many = |_| StoreError::Unrepresentable("more than 65,535 runs");
        let mut frame = codec::start_frame(16 + self.runs.len() * 64);
        frame.extend_from_slice(&self.checkpoint.0.to_le_bytes());
        frame.extend_from_slice(&self.next_run.to_le_bytes());
        frame.extend_from_slice(&u16::try_from(self.runs.len()).map_err(too_many)?.to_le_bytes());
        for run in &self.runs {
            for number in [run.id, run.level, run.pages, run.filter_blocks] {
                frame.extend_from_slice(&number.to_le_bytes());
            }
            frame.extend_from_slice(&run.keys.to_le_bytes());
            frame.extend_from_slice(run.first.as_bytes());
            frame.extend_from_slice(run.last.as_bytes());
        }
        frame.extend_from_slice(&u16::try_from(self.dead.len()).map_err(too_many)?.to_le_bytes());
        for run in &self.dead {
            frame.extend_from_slice(&run.to_le_bytes());
        }
        frame.extend_from_slice(&self.chunks_indexed_after.0.to_le_bytes());
        codec::finish_frame(&mut frame, VERSION, &key);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::sled::{
        index::key::UuidKind, options::StoreOptions, organizations::OrganizationNumber,
    };

    #[test]
    fn what_is_stored_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(&StoreOptions::new(directory.path())).unwrap();
        assert_eq!(Manifest::load(&engine).unwrap(), Manifest::default());
        let key = |uuid| {
            UuidKey::new(Uuid::from_u128(uuid), OrganizationNumber(3), UuidKind::ProductUsage)
        };
        let run = |id| RunSummary {
            id,
            level: id % 3,
            keys: 9,
            pages: 1,
            filter_blocks: 2,
            first: key(1),
            last: key(8),
        };
        let manifest = Manifest {
            checkpoint: LogSequence(77),
            next_run: 40,
            runs: (0..24).map(run).collect(),
            dead: vec![30, 31],
            chunks_indexed_after: LogSequence(5),
        };
        manifest.store(&engine).unwrap();
        assert_eq!(Manifest::load(&engine).unwrap(), manifest);
    }

    #[test]
    fn manifest_without_chunk_index_is_indexed_from_its_checkpoint() {
        let manifest = Manifest { checkpoint: LogSequence(77), next_run: 4, ..Manifest::default() };
        let value = manifest.encode().unwrap();
        let (_, body) = value.split_at(codec::FRAME_BYTES);
        let body = &body[..body.len() - 8];
        let key = KeySpace::Manifest.only();
        let old = codec::frame(body, VERSION_WITHOUT_CHUNK_INDEX, &key);
        let expected = Manifest { chunks_indexed_after: LogSequence(77), ..manifest };
        assert_eq!(Manifest::decode(&old).unwrap(), expected);
        assert!(Manifest::decode(&codec::frame(body, VERSION, &key)).is_err());
    }
}
