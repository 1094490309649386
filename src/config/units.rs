//! Values with a unit, as people write them.

use std::{fmt, str::FromStr, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, de};

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("{0:?} is not a duration such as 30s, 10m, 1h or 1h 30m")]
    Duration(String),
    /// Not a size.
    #[error("{0:?} is not a size such as 64KiB, 512MiB or 2GiB")]
    Size(String),
    /// Neither a size nor a percentage.
    #[error("{0:?} is neither a size such as 512MiB or 2GiB nor a percentage such as 5%")]
    SizeOrPercent(String),
}

/// A duration such as `30s` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self).map_err(|_| UnitError::Duration(text.to_owned()))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Something that is done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// A number of bytes such as `512MiB`. Units are powers of 1024 (`KiB`, `MiB`, `GiB`), in any case;
/// a number alone counts bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 4] = [("gib", 1 << 30), ("mib", 1 << 20), ("kib", 1 << 10), ("b", 1)];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || UnitError::Size(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, bytes)| Some((lower.strip_suffix(suffix)?, *bytes)))
            .unwrap_or((&lower, 1));
        let number: u64 = number.trim_end().parse().map_err(|_| unreadable())?;
        number.checked_mul(unit).map(Self).ok_or_else(unreadable)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 >= unit && self.0.is_multiple_of(unit);
        match self.0 {
            bytes if fits(1 << 30) => write!(f, "{}GiB", bytes >> 30),
            bytes if fits(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            bytes if fits(1 << 10) => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as 512MiB, or a number of bytes")]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// A number of bytes such as `512MiB`, or a part of something such as `5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteSizeOrPercent {
    /// A number of bytes.
    Bytes(u64),
    /// 0 to 100 hundredths.
    Percent(u8),
}

impl FromStr for ByteSizeOrPercent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || UnitError::SizeOrPercent(text.to_owned());
        match text.trim().strip_suffix('%') {
            Some(number) => {
                let percent = number.trim_end().parse().map_err(|_| unreadable())?;
                if percent > 100 {
                    return Err(unreadable());
                }
                Ok(Self::Percent(percent))
            }
            None => {
                text.parse().map(|ByteSize(bytes)| Self::Bytes(bytes)).map_err(|_| unreadable())
            }
        }
    }
}

impl<'de> Deserialize<'de> for ByteSizeOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a size such as 512MiB, a percentage such as 5%, or a number of bytes"
        )]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in [
            ("512MiB", 512 << 20, "512MiB"),
            ("2 gib", 2 << 30, "2GiB"),
            ("64kib", 64 << 10, "64KiB"),
            ("1000", 1000, "1000B"),
            ("7B", 7, "7B"),
            ("0", 0, "0B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed), "{text}");
        }
    }

    #[test]
    fn percentages_are_told_from_sizes() {
        for (text, expected) in [
            ("5%", Some(ByteSizeOrPercent::Percent(5))),
            (" 100 % ", Some(ByteSizeOrPercent::Percent(100))),
            ("0", Some(ByteSizeOrPercent::Bytes(0))),
            ("2GiB", Some(ByteSizeOrPercent::Bytes(2 << 30))),
            ("101%", None),
            ("-1%", None),
            ("0.5%", None),
            ("%", None),
            ("5 percent", None),
        ] {
            let unreadable = UnitError::SizeOrPercent(text.to_owned());
            assert_eq!(text.parse(), expected.ok_or(unreadable), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_or_duration_is_said() {
        for text in ["", "MiB", "1.5GiB", "-1", "5 MB", "99999999999999GiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(UnitError::Size(text.to_owned())));
        }
        assert_eq!("1".parse::<HumanDuration>(), Err(UnitError::Duration("1".to_owned())));
        assert_eq!("90s".parse(), Ok(HumanDuration(Duration::from_secs(90))));
    }
}
