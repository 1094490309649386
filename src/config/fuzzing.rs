//! Configuration files, and values with a unit.

use std::{path::Path, time::Duration};

use super::{ByteSize, ConfigError, HumanDuration, ServeOptions, file::parse};

/// A file is settings, which lie over none as they are, or a line of it is at fault; sizes and durations read back as they
/// are written.
///
/// # Panics
/// If not.
pub fn config_file(input: &[u8]) {
    if let Some((number, _)) = input.split_first_chunk() {
        units(u64::from_le_bytes(*number));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse(text, Path::new("meterd.toml")) {
        Ok(options) => {
            assert_eq!(options.clone().or(ServeOptions::default()), options);
            assert_eq!(ServeOptions::default().or(options.clone()), options);
        }
        Err(ConfigError::Invalid { line, reason, .. }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "{line}: {text:?}");
            assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
        }
        Err(other) => panic!("{other}"),
    }
    if let Ok(ByteSize(size)) = text.parse() {
        units(size);
    }
    if let Ok(HumanDuration(duration)) = text.parse() {
        let spelled = HumanDuration(duration).to_string();
        assert_eq!(spelled.parse(), Ok(HumanDuration(duration)), "{text:?}");
    }
}

fn units(number: u64) {
    let size = ByteSize(number);
    assert_eq!(size.to_string().parse(), Ok(size));
    let duration = HumanDuration(Duration::from_millis(number));
    assert_eq!(duration.to_string().parse(), Ok(duration));
}
