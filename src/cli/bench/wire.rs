//! Messages as bytes, and answers read from bytes.
//!
//! Made by hand: the generator shares the machine with the server, and generated types would cost it several
//! allocations for every record. The tests compare with the generated types.

use std::io::Write as _;

use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};
use serde::Deserialize;

use super::{
    verdict::{Malformed, Verdict},
    workload::{Message, Plan},
};

/// Keys: the number of a field and the form of its value.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

const fn key(field: u64, form: u64) -> u64 {
    field << 3 | form
}

/// `WriteImageProductUsageRequest`.
pub(super) fn write_request(plan: &Plan, message: &Message, out: &mut Vec<u8>) {
    put_text(2, plan.product(message).as_bytes(), out);
    put_records(3, plan, message, out);
}

/// `StreamProductUsageRequest`.
pub(super) fn stream_request(plan: &Plan, message: &Message, sequence: u64, out: &mut Vec<u8>) {
    put_number(1, sequence, out);
    put_text(2, plan.product(message).as_bytes(), out);
    put_records(4, plan, message, out);
}

fn put_records(field: u64, plan: &Plan, message: &Message, out: &mut Vec<u8>) {
    for planned in &message.records {
        let sku = plan.sku(planned).as_bytes();
        let quantity = u64::from(planned.quantity);
        let second = u64::try_from(plan.time(planned).0).unwrap_or_default();
        let time_bytes = 1 + encoded_len_varint(second);
        // Every text and every time is shorter than 128 bytes, so each has one byte of key and one of length.
        let bytes = (2 + planned.uuid.len())
            + (2 + sku.len())
            + (1 + encoded_len_varint(quantity))
            + (2 + time_bytes);
        encode_varint(key(field, BYTES), out);
        encode_varint(bytes as u64, out);
        put_text(1, &planned.uuid, out);
        put_text(2, sku, out);
        put_number(3, quantity, out);
        encode_varint(key(4, BYTES), out);
        encode_varint(time_bytes as u64, out);
        put_number(1, second, out);
    }
}

fn put_text(field: u64, text: &[u8], out: &mut Vec<u8>) {
    encode_varint(key(field, BYTES), out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn put_number(field: u64, number: u64, out: &mut Vec<u8>) {
    encode_varint(key(field, VARINT), out);
    encode_varint(number, out);
}

/// The same as `write_request`, in JSON.
pub(super) fn json_request(plan: &Plan, message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"productId\":\"");
    out.extend_from_slice(plan.product(message).as_bytes());
    out.extend_from_slice(b"\",\"usageRecords\":[");
    for (at, planned) in message.records.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"uuid\":\"" } else { b",{\"uuid\":\"" });
        out.extend_from_slice(&planned.uuid);
        out.extend_from_slice(b"\",\"skuId\":\"");
        out.extend_from_slice(plan.sku(planned).as_bytes());
        out.extend_from_slice(b"\",\"quantity\":\"");
        // Writing to memory cannot fail.
        let _ = write!(out, "{}", planned.quantity);
        out.extend_from_slice(b"\",\"timestamp\":\"");
        out.extend_from_slice(plan.time(planned).1.as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b"]}");
}

/// Reads a `WriteImageProductUsageResponse`: each record is in one of two lists, each in the order of the request.
pub(super) fn read_write_response(
    body: &[u8],
    message: &Message,
    verdicts: &mut Vec<Verdict>,
) -> Result<(), Malformed> {
    let mut lists = TwoLists::new(message, verdicts);
    let mut fields = Fields(body);
    while let Some((field, value)) = fields.next()? {
        let mut uuid: &[u8] = b"";
        let mut reason = 0;
        let mut members = Fields(value.bytes()?);
        while let Some((member, value)) = members.next()? {
            match member {
                1 => uuid = value.bytes()?,
                2 => reason = value.number()?,
                _ => {}
            }
        }
        match field {
            1 => lists.accepted(uuid)?,
            2 => lists.rejected(uuid, Verdict::rejected(reason, false))?,
            _ => {}
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct JsonResponse<'a> {
    #[serde(borrow, default)]
    accepted: Vec<JsonRecord<'a>>,
    #[serde(borrow, default)]
    rejected: Vec<JsonRecord<'a>>,
}

#[derive(Deserialize)]
struct JsonRecord<'a> {
    uuid: &'a str,
    #[serde(default)]
    reason: &'a str,
}

/// The same in JSON.
pub(super) fn read_json_response(
    body: &[u8],
    message: &Message,
    verdicts: &mut Vec<Verdict>,
) -> Result<(), Malformed> {
    let response: JsonResponse<'_> = serde_json::from_slice(body).map_err(|_| Malformed)?;
    let mut lists = TwoLists::new(message, verdicts);
    for record in &response.accepted {
        lists.accepted(record.uuid.as_bytes())?;
    }
    for record in &response.rejected {
        let duplicate = record.reason == "DUPLICATE";
        let verdict = if duplicate { Verdict::Identical } else { Verdict::Rejected };
        lists.rejected(record.uuid.as_bytes(), verdict)?;
    }
    Ok(())
}

/// Reads a `StreamProductUsageResponse`, in which only the rejected are named. Answers its sequence.
pub(super) fn read_stream_response(
    body: &[u8],
    records: impl FnOnce(u64) -> Option<usize>,
    verdicts: &mut Vec<Verdict>,
) -> Result<u64, Malformed> {
    let (mut sequence, mut accepted, mut rejected) = (0, 0, 0);
    // The sequence stands first, but nothing promises that.
    let mut fields = Fields(body);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => sequence = value.number()?,
            2 => accepted = value.number()?,
            _ => {}
        }
    }
    let records = records(sequence).ok_or(Malformed)?;
    verdicts.clear();
    verdicts.resize(records, Verdict::Accepted);
    let mut fields = Fields(body);
    while let Some((field, value)) = fields.next()? {
        if field != 3 {
            continue;
        }
        let (mut reason, mut conflict, mut index) = (0, 0, 0);
        let mut members = Fields(value.bytes()?);
        while let Some((member, value)) = members.next()? {
            match member {
                2 => reason = value.number()?,
                3 => conflict = value.number()?,
                4 => index = value.number()?,
                _ => {}
            }
        }
        let index = usize::try_from(index).map_err(|_| Malformed)?;
        *verdicts.get_mut(index).ok_or(Malformed)? = Verdict::rejected(reason, conflict != 0);
        rejected += 1;
    }
    if accepted + rejected == records as u64 { Ok(sequence) } else { Err(Malformed) }
}

/// Finds the records of a message in two lists, each of which is in the message's order.
struct TwoLists<'a> {
    message: &'a Message,
    verdicts: &'a mut Vec<Verdict>,
    accepted_from: usize,
    rejected_from: usize,
}

impl<'a> TwoLists<'a> {
    fn new(message: &'a Message, verdicts: &'a mut Vec<Verdict>) -> Self {
        verdicts.clear();
        verdicts.resize(message.records.len(), Verdict::Missing);
        Self { message, verdicts, accepted_from: 0, rejected_from: 0 }
    }

    fn accepted(&mut self, uuid: &[u8]) -> Result<(), Malformed> {
        self.accepted_from = self.note(self.accepted_from, uuid, Verdict::Accepted)?;
        Ok(())
    }

    fn rejected(&mut self, uuid: &[u8], verdict: Verdict) -> Result<(), Malformed> {
        self.rejected_from = self.note(self.rejected_from, uuid, verdict)?;
        Ok(())
    }

    /// Answers where to go on looking.
    fn note(&mut self, from: usize, uuid: &[u8], verdict: Verdict) -> Result<usize, Malformed> {
        let later =
            self.message.records.iter().zip(self.verdicts.iter_mut()).enumerate().skip(from);
        for (at, (planned, found)) in later {
            if planned.uuid == uuid {
                *found = verdict;
                return Ok(at + 1);
            }
        }
        Err(Malformed)
    }
}

/// The fields of a message, one by one.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = decode_varint(&mut self.0).map_err(|_| Malformed)?;
        let number = decode_varint(&mut self.0).map_err(|_| Malformed)?;
        let value = match key & 7 {
            VARINT => Value::Number(number),
            BYTES => {
                let length = usize::try_from(number).map_err(|_| Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return Err(Malformed),
        };
        Ok(Some((key >> 3, value)))
    }
}

impl<'a> Value<'a> {
    fn number(&self) -> Result<u64, Malformed> {
        if let Self::Number(number) = self { Ok(*number) } else { Err(Malformed) }
    }

    fn bytes(&self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message as _;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{
        api::pb::{
            meterd::v1::{
                RejectedProductUsage, StreamProductUsageRequest, StreamProductUsageResponse,
                stream_product_usage_request::Target,
            },
            yandex::cloud::marketplace::metering::v1::{
                AcceptedUsageRecord, RejectedUsageRecord, WriteImageProductUsageRequest,
                WriteImageProductUsageResponse,
            },
        },
        cli::bench::{
            uuids::UuidVersion,
            workload::{Lane, MessageShape, PlanSize},
        },
    };

    fn message() -> (Arc<Plan>, Message) {
        let size = PlanSize {
            seed: 5,
            version: UuidVersion::V7,
            lanes: 1,
            products: 2,
            skus: 9,
            usage_spread: std::time::Duration::from_mins(15),
        };
        let plan = Arc::new(Plan::new(size, "2026-11-20T12:00:00Z".parse().unwrap()));
        let mut message = Message::default();
        let shape = MessageShape { records: 7, duplicates_percent: 0 };
        Lane::new(&plan, 0).compose(&mut message, shape);
        (plan, message)
    }

    fn text(planned: &crate::cli::bench::workload::Planned) -> String {
        String::from_utf8(planned.uuid.to_vec()).unwrap()
    }

    #[test]
    fn requests_are_what_the_generated_types_read() {
        let (plan, message) = message();
        let mut bytes = Vec::new();
        write_request(&plan, &message, &mut bytes);
        let request = WriteImageProductUsageRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(request.product_id, "bench-product-1");
        assert_eq!(request.encode_to_vec(), bytes);
        let mut bytes = Vec::new();
        stream_request(&plan, &message, 300, &mut bytes);
        let stream = StreamProductUsageRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(stream.sequence, 300);
        assert_eq!(stream.target, Some(Target::ProductId("bench-product-1".to_owned())));
        let mut bytes = Vec::new();
        json_request(&plan, &message, &mut bytes);
        let in_json: Json = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(in_json["productId"], "bench-product-1");
        for (at, planned) in message.records.iter().enumerate() {
            let (unary, streamed) = (&request.usage_records[at], &stream.usage_records[at]);
            assert_eq!(unary.uuid, text(planned));
            assert_eq!(unary.sku_id, plan.sku(planned));
            assert_eq!(unary.quantity, i64::from(planned.quantity));
            let (second, time) = plan.time(planned);
            assert_eq!(unary.timestamp.unwrap().seconds, second);
            assert_eq!(unary.encode_to_vec(), streamed.encode_to_vec());
            assert_eq!(
                in_json["usageRecords"][at],
                json!({"uuid": unary.uuid, "skuId": unary.sku_id,
                    "quantity": unary.quantity.to_string(), "timestamp": time})
            );
        }
    }

    #[test]
    fn every_record_gets_its_verdict() {
        let (_, message) = message();
        let uuid = |at: usize| text(&message.records[at]);
        let rejected = |at, reason| RejectedUsageRecord { uuid: uuid(at), reason };
        let response = WriteImageProductUsageResponse {
            accepted: [0, 2, 6].map(|at| AcceptedUsageRecord { uuid: uuid(at) }).to_vec(),
            rejected: vec![rejected(1, 1), rejected(4, 2), rejected(5, 1)],
        };
        let expected = [
            Verdict::Accepted,
            Verdict::Identical,
            Verdict::Accepted,
            Verdict::Missing,
            Verdict::Rejected,
            Verdict::Identical,
            Verdict::Accepted,
        ];
        let mut verdicts = Vec::new();
        read_write_response(&response.encode_to_vec(), &message, &mut verdicts).unwrap();
        assert_eq!(verdicts, expected);
        let in_json = json!({
            "accepted": [{"uuid": uuid(0)}, {"uuid": uuid(2)}, {"uuid": uuid(6)}],
            "rejected": [{"uuid": uuid(1), "reason": "DUPLICATE"}, {"uuid": uuid(4), "reason": "EXPIRED"},
                {"uuid": uuid(5), "reason": "DUPLICATE"}],
        });
        read_json_response(in_json.to_string().as_bytes(), &message, &mut verdicts).unwrap();
        assert_eq!(verdicts, expected);
        let stranger = WriteImageProductUsageResponse {
            accepted: vec![AcceptedUsageRecord { uuid: "x".to_owned() }],
            rejected: vec![],
        };
        assert!(read_write_response(&stranger.encode_to_vec(), &message, &mut verdicts).is_err());
    }

    #[test]
    fn answers_of_a_stream_name_what_was_rejected() {
        let duplicate = |index, conflict| RejectedProductUsage {
            uuid: String::new(),
            reason: 1,
            conflict,
            index,
        };
        let mut response = StreamProductUsageResponse {
            sequence: 12,
            accepted_count: 2,
            rejected: vec![duplicate(0, false), duplicate(3, true)],
        };
        let mut verdicts = Vec::new();
        let four = |sequence| (sequence == 12).then_some(4);
        let read = read_stream_response(&response.encode_to_vec(), four, &mut verdicts);
        assert_eq!(read, Ok(12));
        let expected =
            [Verdict::Identical, Verdict::Accepted, Verdict::Accepted, Verdict::Conflicting];
        assert_eq!(verdicts, expected);
        response.accepted_count = 1;
        assert!(read_stream_response(&response.encode_to_vec(), four, &mut verdicts).is_err());
    }
}
