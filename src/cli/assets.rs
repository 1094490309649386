//! `meterd assets`: what usage batches may report.

use std::io::{self, Write as _};

use clap::{Args, Subcommand, ValueEnum};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use super::{
    CommandError, CommandResult,
    connection::{Connection, ServerOptions, call_failed},
    lines::{InputFile, LineError, Lines},
    output::{self, grouped, table},
    terminal::{self, tell},
};
use crate::{
    api::pb::meterd::v1::{
        ApplyAssetsRequest, ApplyAssetsResponse, Asset, CatalogState, DeleteAssetRequest,
        ListAssetsRequest, catalog_service_client::CatalogServiceClient,
    },
    domain::limits::{ASSETS_PER_APPLY_MAX, PAGE_SIZE_MAX},
};

/// Calls under way at once: while one is on its way to the disk, the next is read.
const IN_FLIGHT: usize = 4;

/// How often a call is made that the server asks to make again later.
const ATTEMPTS_MAX: usize = 100;

/// Load, list and remove assets, whose usage is reported in batches
#[derive(Debug, Subcommand)]
pub(super) enum AssetsCommand {
    /// Create or change the assets of a file; as many as there are
    ///
    /// Every line names id, and may name name and state (active or retired): JSON Lines with these members, or CSV
    /// with these columns. Assets that the file does not name stay as they are. Safe to repeat.
    Load {
        #[command(flatten)]
        input: InputFile,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// List assets by id
    List(ListCommand),
    /// Remove an asset; its usage stays
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        server: ServerOptions,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListCommand {
    /// Most assets to print; 0 for all of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: ListForm,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ListForm {
    #[default]
    Table,
    /// One object a line, in the form that `assets load` reads
    Json,
    /// With a header, in the form that `assets load` reads: byte for byte, so a spreadsheet may take a name for a formula
    Csv,
}

/// Whether new usage is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Active,
    Retired,
}

/// A line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "state")]
    state: State,
}

/// A column that is there for some lines only is empty for the others.
fn state<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" | "active" => Ok(State::Active),
        "retired" => Ok(State::Retired),
        other => {
            Err(serde::de::Error::custom(format!("state {other:?} is neither active nor retired")))
        }
    }
}

impl AssetsCommand {
    pub(super) async fn run(self) -> CommandResult {
        match self {
            Self::Load { input, server } => load(&input, server.connect().await?).await,
            Self::List(command) => command.run().await,
            Self::Delete { id, server } => {
                let mut client = CatalogServiceClient::new(server.connect().await?);
                let request = DeleteAssetRequest { asset_id: id };
                client.delete_asset(request).await.map_err(|status| call_failed(&status))?;
                Ok(())
            }
        }
    }
}

async fn load(input: &InputFile, connection: Connection) -> CommandResult {
    let (lines, bytes) = input.open::<Line>()?;
    let bar = match bytes {
        Some(_) => terminal::progress_bar(
            bytes,
            "{bar:40.cyan} {percent:>3} % {msg} assets, {elapsed}, {eta} left",
        ),
        None => terminal::progress_bar(None, "{spinner} {msg} assets, {elapsed}"),
    };
    let mut pieces = Pieces { lines, stopped: None };
    let (mut created, mut updated, mut unchanged) = (0_u64, 0_u64, 0_u64);
    let mut failed = None;
    {
        let calls = stream::iter(std::iter::from_fn(|| pieces.next())).map(|piece| {
            let mut client = CatalogServiceClient::new(connection.clone());
            async move {
                let request = ApplyAssetsRequest { assets: piece.assets, validate_only: false };
                let answer = apply(&mut client, request).await;
                (piece.first_line, piece.bytes_read, answer)
            }
        });
        let mut calls = std::pin::pin!(calls.buffered(IN_FLIGHT));
        while let Some((first_line, bytes_read, answer)) = calls.next().await {
            match answer {
                Ok(answer) => {
                    let ApplyAssetsResponse { created_count, updated_count, unchanged_count } =
                        answer.into_inner();
                    created += u64::from(created_count.unsigned_abs());
                    updated += u64::from(updated_count.unsigned_abs());
                    unchanged += u64::from(unchanged_count.unsigned_abs());
                    bar.set_position(bytes_read);
                    bar.set_message(grouped(created + updated + unchanged));
                }
                Err(status) => {
                    failed = Some((first_line, call_failed(&status)));
                    break;
                }
            }
        }
    }
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    let counted = [(created, "created"), (updated, "updated"), (unchanged, "as they were")]
        .map(|(count, what)| format!("{} {what}", grouped(count)));
    writeln!(out, "assets: {}", counted.join(", "))?;
    let name = input.name();
    if let Some((line, error)) = failed {
        let what = format!("{name}: from line {line} on nothing may be taken as loaded: {error}");
        return Err(CommandError::failed(what));
    }
    match pieces.stopped {
        None => Ok(()),
        Some(LineError::Io(error)) => {
            Err(CommandError::failed(format!("cannot read {name}: {error}")))
        }
        Some(LineError::Bad { line, reason }) => Err(CommandError::failed(format!(
            "{name}:{line}: {reason}\nwhat stands before this line was loaded; mend it and run the same command again"
        ))),
    }
}

/// Makes a change, as often as it takes: each is put on record, and many files have more lines than so many changes a minute.
async fn apply(
    client: &mut CatalogServiceClient<Connection>,
    request: ApplyAssetsRequest,
) -> Result<Response<ApplyAssetsResponse>, Status> {
    for _ in 1..ATTEMPTS_MAX {
        let refused = match client.apply_assets(request.clone()).await {
            Err(status) if status.code() == Code::ResourceExhausted => status,
            answer => return answer,
        };
        let wanted = refused.get_details_retry_info().and_then(|info| info.retry_delay);
        let Some(pause) = wanted else { return Err(refused) };
        tokio::time::sleep(pause).await;
    }
    client.apply_assets(request).await
}

/// Assets of one call.
struct Piece {
    first_line: u64,
    bytes_read: u64,
    assets: Vec<Asset>,
}

/// Puts lines together, up to the first bad one.
struct Pieces {
    lines: Lines<Line>,
    stopped: Option<LineError>,
}

impl Pieces {
    fn next(&mut self) -> Option<Piece> {
        let mut piece = Piece { first_line: 0, bytes_read: 0, assets: Vec::new() };
        // An asset that comes twice in one call would be refused: the later line counts.
        let mut places = std::collections::HashMap::new();
        while self.stopped.is_none() && piece.assets.len() < ASSETS_PER_APPLY_MAX {
            match self.lines.next() {
                None => break,
                Some(Err(error)) => self.stopped = Some(error),
                Some(Ok((line, read))) => {
                    if piece.assets.is_empty() {
                        piece.first_line = line;
                    }
                    let place = *places.entry(read.id.clone()).or_insert(piece.assets.len());
                    let asset = to_wire(read);
                    match piece.assets.get_mut(place) {
                        Some(earlier) => *earlier = asset,
                        None => piece.assets.push(asset),
                    }
                }
            }
        }
        piece.bytes_read = self.lines.bytes_read();
        (!piece.assets.is_empty()).then_some(piece)
    }
}

fn to_wire(line: Line) -> Asset {
    let state = match line.state {
        State::Active => CatalogState::Active,
        State::Retired => CatalogState::Retired,
    };
    Asset { id: line.id, name: line.name, state: state.into() }
}

fn from_wire(asset: Asset) -> Line {
    let state = match asset.state() {
        CatalogState::Retired => State::Retired,
        CatalogState::Active | CatalogState::Unspecified => State::Active,
    };
    Line { id: asset.id, name: asset.name, state }
}

impl ListCommand {
    async fn run(self) -> CommandResult {
        let mut client = CatalogServiceClient::new(self.server.connect().await?);
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        let mut request = ListAssetsRequest::default();
        let mut first = true;
        loop {
            let page_size = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_SIZE_MAX);
            request.page_size = i32::try_from(page_size).unwrap_or(i32::MAX);
            let page = client
                .list_assets(request.clone())
                .await
                .map_err(|status| call_failed(&status))?
                .into_inner();
            left = left.saturating_sub(page.assets.len() as u64);
            let assets: Vec<Line> = page.assets.into_iter().map(from_wire).collect();
            print(self.output, &assets, first)?;
            first = false;
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(());
            }
            if left == 0 {
                let printed = grouped(self.limit);
                tell(format_args!(
                    "the first {printed} assets; there are more (--limit 0 for all)"
                ));
                return Ok(());
            }
        }
    }
}

fn print(form: ListForm, assets: &[Line], first: bool) -> CommandResult {
    let mut out = io::stdout().lock();
    let cells = |asset: &Line| {
        let state = match asset.state {
            State::Active => "active",
            State::Retired => "retired",
        };
        vec![asset.id.clone(), asset.name.clone(), state.to_owned()]
    };
    let header = ["id", "name", "state"];
    match form {
        ListForm::Table => {
            let mut rows = table::table(&header, &[]);
            for asset in assets {
                rows.add_row(cells(asset));
            }
            Ok(out.write_all(table::render(&rows).as_bytes())?)
        }
        ListForm::Json => assets.iter().try_for_each(|asset| output::json_line(&mut out, asset)),
        ListForm::Csv => {
            let rows: Vec<Vec<String>> = assets.iter().map(cells).collect();
            output::csv_rows(out, first.then_some(header.as_slice()), &rows)
        }
    }
}
