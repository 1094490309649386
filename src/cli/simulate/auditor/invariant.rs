//! What must hold: the invariants of the architecture, and what follows from them for an invoice.

use std::fmt;

use serde::Serialize;

macro_rules! invariants {
    ($($invariant:ident = $text:literal,)*) => {
        /// Something that must hold at all times.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(in crate::cli::simulate) enum Invariant {
            $(#[doc = $text] $invariant,)*
        }

        impl Invariant {
            /// Every invariant.
            pub(in crate::cli::simulate) const ALL: &[Self] = &[$(Self::$invariant),*];

            /// What must hold.
            pub(in crate::cli::simulate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$invariant => $text,)*
                }
            }
        }
    };
}

invariants! {
    Durable = "1. what is acknowledged survives every restart and crash",
    CountedOnce = "2. a uuid, or the id of a batch, is counted once",
    Together = "3. records, uuids and totals become visible together",
    Visible = "4. what is acknowledged is visible",
    Apart = "5. organizations are apart",
    Exact = "6. sums are exact",
    FailsClosed = "8. after a failed write all writes are refused, reads go on",
    LogTime = "9. stored times follow the log, whatever the clock does",
    LogIsTruth = "10. verify finds nothing",
    Verdicts = "every other verdict is the model's",
    Days = "totals by customer, SKU and day in the customer's zone",
    Hours = "totals by hour where clocks are set",
    Months = "totals by customer, SKU and month",
    Invoices = "an invoice is the sum of its days and of its records",
    Listings = "a listing has the records that were accepted",
    ApiUsage = "usage queries: API usage by day",
    Assets = "batches, and totals of assets by day",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// How often something was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(in crate::cli::simulate) struct Tally {
    pub(in crate::cli::simulate) checked: u64,
    pub(in crate::cli::simulate) violated: u64,
}
