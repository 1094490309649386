//! Which usage times are accepted.

use jiff::{SignedDuration, Timestamp};

/// Which usage times are accepted, relative to the server's clock; both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptanceWindow {
    /// How old usage may be. The vendor's rule, and the default: one hour.
    pub accept_past: SignedDuration,
    /// How far in the future it may be, since clocks differ. Default 30 s.
    pub clock_skew: SignedDuration,
}

impl Default for AcceptanceWindow {
    fn default() -> Self {
        Self {
            accept_past: SignedDuration::from_hours(1),
            clock_skew: SignedDuration::from_secs(30),
        }
    }
}

/// Why a usage time is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutsideWindow {
    /// It lies in the future.
    Future,
    /// It lies too far in the past.
    Expired,
}

impl AcceptanceWindow {
    /// Judges a usage time.
    ///
    /// # Errors
    /// [`OutsideWindow`] says on which side it lies.
    pub fn judge(&self, usage_time: Timestamp, now: Timestamp) -> Result<(), OutsideWindow> {
        let age = now.duration_since(usage_time);
        if age < -self.clock_skew {
            return Err(OutsideWindow::Future);
        }
        if age > self.accept_past {
            return Err(OutsideWindow::Expired);
        }
        Ok(())
    }
}
