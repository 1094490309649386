//! `StreamProductUsage`: several messages ahead of the answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, client::Grpc};

use super::{
    super::{
        verdict::{Failure, Verdict},
        wire,
        workload::{Lane, Message},
    },
    Caller, all_missing,
};
use crate::{api::bytes_codec::BytesCodec, cli::connection::Connection};

const METHOD: PathAndQuery =
    PathAndQuery::from_static("/meterd.v1.UsageIngestService/StreamProductUsage");
/// For the server to see that the stream ended, rather than broke.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// One stream at a time over one connection.
#[derive(Debug)]
pub(in crate::cli::bench) struct StreamCaller {
    pub(in crate::cli::bench) caller: Caller,
    pub(in crate::cli::bench) connection: Connection,
    pub(in crate::cli::bench) in_flight_max: usize,
    /// They take turns.
    pub(in crate::cli::bench) lanes: Vec<Lane>,
}

/// A message on its way.
struct Sent {
    lane: usize,
    intended: Instant,
    message: Message,
}

impl StreamCaller {
    /// Reports until the schedule ends, over a new stream whenever one breaks. Answers the lanes.
    pub(in crate::cli::bench) async fn run(mut self) -> Vec<Lane> {
        let mut in_flight = VecDeque::with_capacity(self.in_flight_max);
        let mut turn = 0;
        loop {
            let Err(status) = self.one_stream(&mut in_flight, &mut turn).await else {
                return self.lanes;
            };
            for sent in in_flight.drain(..) {
                let Sent { lane, mut message, .. } = sent;
                message.uncertain = true;
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.keep(message);
                }
            }
            self.caller.failed(&Failure::from(status)).await;
        }
    }

    /// Ends well with the schedule, when everything is answered.
    async fn one_stream(
        &mut self,
        in_flight: &mut VecDeque<Sent>,
        turn: &mut usize,
    ) -> Result<(), Status> {
        // The server answers headers at once, so the stream can be opened before there is anything to say.
        let (outbox, requests) = mpsc::channel(self.in_flight_max);
        let mut client = Grpc::new(self.connection.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let requests = Request::new(ReceiverStream::new(requests));
        let mut answers = None;
        let mut opening = Box::pin(client.streaming(requests, METHOD, BytesCodec));
        let (mut sequence, mut ended, mut request_bytes) = (0, false, 0);
        let mut spare = Vec::new();
        let mut verdicts = Vec::new();
        loop {
            if ended && in_flight.is_empty() {
                drop(outbox);
                if let Some(answers) = &mut answers {
                    let _ = timeout(FAREWELL_TIMEOUT, Streaming::message(answers)).await;
                }
                return Ok(());
            }
            let room = !ended && in_flight.len() < self.in_flight_max;
            tokio::select! {
                opened = &mut opening, if answers.is_none() => {
                    answers = Some(opened?.into_inner());
                }
                intended = self.caller.run.schedule.next(), if room => {
                    let Some(intended) = intended else {
                        ended = true;
                        continue;
                    };
                    let at = *turn % self.lanes.len().max(1);
                    let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
                    *turn += 1;
                    sequence += 1;
                    let mut message = spare.pop().unwrap_or_default();
                    lane.compose(&mut message, self.caller.shape);
                    let mut request = Vec::with_capacity(request_bytes);
                    wire::stream_request(&lane.plan, &message, sequence, &mut request);
                    request_bytes = request_bytes.max(request.len());
                    in_flight.push_back(Sent { lane: at, intended, message });
                    // If the stream is gone, its answers say why.
                    let _ = outbox.send(Bytes::from(request)).await;
                }
                answer = next_answer(&mut answers), if answers.is_some() && !in_flight.is_empty() => {
                    let answer = answer?;
                    // In the order of the messages, so this is the oldest.
                    let oldest = sequence - in_flight.len() as u64 + 1;
                    let Some(sent) = in_flight.pop_front() else { continue };
                    spare.push(self.settle(sent, oldest, &answer, &mut verdicts));
                }
            }
        }
    }

    /// Answers the message, for another to take its place.
    fn settle(
        &mut self,
        sent: Sent,
        sequence: u64,
        answer: &[u8],
        verdicts: &mut Vec<Verdict>,
    ) -> Message {
        let Sent { lane, intended, message } = sent;
        let records = |answered| (answered == sequence).then_some(message.records.len());
        if wire::read_stream_response(answer, records, verdicts).is_err() {
            all_missing(&message, verdicts);
        }
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.settle(&message);
        }
        self.caller.run.answered(self.caller.connection, intended, &message, verdicts);
        message
    }
}

async fn next_answer(answers: &mut Option<Streaming<Bytes>>) -> Result<Bytes, Status> {
    let ended = || Status::unavailable("the server ended the stream");
    let Some(answers) = answers else { return Err(ended()) };
    answers.message().await?.ok_or_else(ended)
}
