//! Which messages have a JSON form of their own.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Whether a value of the field (or of its elements) can be written in a path or a query.
pub(super) fn is_text(field: &FieldDescriptor) -> bool {
    if field.is_map() {
        return false;
    }
    match field.kind() {
        Kind::Message(message) => {
            matches!(
                message.full_name(),
                "google.protobuf.Timestamp"
                    | "google.protobuf.Duration"
                    | "google.protobuf.FieldMask"
                    | "google.protobuf.StringValue"
                    | "google.protobuf.BytesValue"
                    | "google.protobuf.BoolValue"
                    | "google.protobuf.Int32Value"
                    | "google.protobuf.Int64Value"
                    | "google.protobuf.UInt32Value"
                    | "google.protobuf.UInt64Value"
                    | "google.protobuf.FloatValue"
                    | "google.protobuf.DoubleValue"
            )
        }
        _ => true,
    }
}

/// Whether a message has a JSON form of its own instead of members for its fields.
pub(super) fn is_well_known(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
}
