//! Telling the operator of what is not counted, without a line for each call.

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Tally;

/// At least so long between two warnings.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// What was lost since the last warning. Metrics have all of it at any time.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    losses: Tally,
    warned: Option<Timestamp>,
}

impl Losses {
    /// Takes the losses of a message in, and warns of all that came together if there was no warning for a while.
    pub(super) fn note(&self, tally: &Tally, now: Timestamp) {
        if tally.has_losses()
            && let Some(losses) = self.due(tally, now)
        {
            tracing::warn!(
                dropped = ?losses.dropped,
                ignored = ?losses.ignored,
                "entries of access logs were not counted, or counted without some of what they say"
            );
        }
    }

    /// What to warn of now.
    fn due(&self, tally: &Tally, now: Timestamp) -> Option<Tally> {
        let mut unsaid = self.0.lock();
        unsaid.losses.add_losses(tally);
        // A clock that was set back must not silence this for long.
        let silent = unsaid.warned.is_some_and(|warned| now.duration_since(warned).abs() < PAUSE);
        if silent {
            return None;
        }
        unsaid.warned = Some(now);
        Some(std::mem::take(&mut unsaid.losses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{access_log::DropReason, testing::now};

    #[test]
    fn losses_are_told_once_a_minute_and_none_is_forgotten() {
        let lost = |entries| {
            let mut tally = Tally::default();
            tally.drop(DropReason::NotHttp, entries);
            tally
        };
        let losses = Losses::default();
        let second = |seconds| now() + SignedDuration::from_secs(seconds);
        assert_eq!(losses.due(&lost(1), second(0)), Some(lost(1)));
        assert_eq!(losses.due(&lost(2), second(1)), None);
        assert_eq!(losses.due(&lost(3), second(59)), None);
        assert_eq!(losses.due(&lost(4), second(60)), Some(lost(9)));
        assert_eq!(losses.due(&lost(5), second(-3600)), Some(lost(5)));
    }
}
