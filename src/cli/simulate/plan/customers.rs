//! Who uses what, and who reports it.

use anyhow::Context as _;
use jiff::SignedDuration;

use super::ZONES;
use crate::{
    cli::random::Random,
    domain::id::{ClientId, OrganizationId, ProductInstanceId},
};

/// What both organizations sell. The SKUs of all have one name in common.
pub(in crate::cli::simulate) const PRODUCTS: [&str; 3] = ["compute", "storage", "team-chat"];

/// Assets of both organizations.
pub(in crate::cli::simulate) const ASSETS: u64 = 12;
/// The asset that is retired on the way.
pub(in crate::cli::simulate) const LEAVING_ASSET: &str = "asset-07";

/// Clients of each organization that report for many customers.
const AGENTS: u64 = 6;

/// The SKUs of a product at the beginning; the second is retired on the way.
pub(in crate::cli::simulate) fn skus_of(product: &str) -> [String; 3] {
    [format!("{product}-hours"), format!("{product}-gigabytes"), "requests".to_owned()]
}

/// A client that reports for many customers.
pub(in crate::cli::simulate) fn agent(number: u64) -> String {
    format!("agent-{}", number % AGENTS)
}

/// What a customer's usage is told by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cli::simulate) enum Account {
    /// It has bought an instance of the product.
    Instance(ProductInstanceId),
    /// It reports its usage of the product itself.
    Client(ClientId),
}

/// Somebody who gets invoices.
#[derive(Debug, Clone)]
pub(in crate::cli::simulate) struct Customer {
    pub(in crate::cli::simulate) organization: OrganizationId,
    pub(in crate::cli::simulate) account: Account,
    /// Of [`PRODUCTS`].
    pub(in crate::cli::simulate) product: &'static str,
    /// Who reports.
    pub(in crate::cli::simulate) client: ClientId,
    /// Of [`ZONES`]: what its days and months are.
    pub(in crate::cli::simulate) zone: &'static str,
    /// How wrong the clock is that its usage times are of.
    pub(in crate::cli::simulate) clock_error: SignedDuration,
    /// The round before which its instance is put into the catalog; usage may begin too early.
    pub(in crate::cli::simulate) joins: u64,
    /// The round before which its instance is retired; usage goes on.
    pub(in crate::cli::simulate) leaves: Option<u64>,
}

/// Of a hundred customers, so many have no instance, come later, leave, and have a clock that is wrong.
const WITHOUT_INSTANCE_PERCENT: u64 = 12;
const JOINING_PERCENT: u64 = 10;
const LEAVING_PERCENT: u64 = 6;
const WRONG_CLOCK_PERCENT: u64 = 8;

/// How wrong clocks are, in seconds: within what a server takes, and beyond; by a quarter of an hour that somebody took
/// for none, and by the offset of a zone that somebody took for UTC.
const CLOCK_ERRORS_SECONDS: [i64; 9] =
    [25, -25, 29, 300, -300, -900, 3_600, -3_590, 5 * 3_600 + 2_700];

/// Invents customers: every other one of one organization, with the same names in both. The first of each live where
/// clocks are set.
pub(super) fn invent(
    random: &mut Random,
    count: u32,
    organizations: &[OrganizationId],
    changing_zone: &'static str,
    rounds: u64,
) -> anyhow::Result<Vec<Customer>> {
    let both = organizations.len().max(1);
    (0..count as usize)
        .map(|number| {
            let organization = organizations.get(number % both).context("no organization")?;
            let of_organization = number / both;
            let product = *PRODUCTS.get(of_organization % PRODUCTS.len()).context("no product")?;
            let name = format!("customer-{:05}", of_organization + 1);
            let (account, client) = if random.below(100) < WITHOUT_INSTANCE_PERCENT {
                let client = ClientId::new(&name).context("a client")?;
                (Account::Client(client.clone()), client)
            } else {
                let instance = ProductInstanceId::new(&name).context("an instance")?;
                let agent = ClientId::new(&agent(random.next())).context("a client")?;
                (Account::Instance(instance), agent)
            };
            let percent = |random: &mut Random, percent| random.below(100) < percent;
            let clock_error = if percent(random, WRONG_CLOCK_PERCENT) {
                random.pick(&CLOCK_ERRORS_SECONDS)
            } else {
                0
            };
            let joins = if percent(random, JOINING_PERCENT) { random.below(rounds) } else { 0 };
            let leaves =
                percent(random, LEAVING_PERCENT).then(|| joins + random.below(rounds - joins));
            let zone = if of_organization == 0 { changing_zone } else { random.pick(&ZONES) };
            Ok(Customer {
                organization: organization.clone(),
                account,
                product,
                client,
                zone,
                clock_error: SignedDuration::from_secs(clock_error),
                joins,
                leaves: leaves.filter(|leaves| *leaves > joins),
            })
        })
        .collect()
}
