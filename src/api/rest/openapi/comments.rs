//! The comments of the protos, which protobuf keeps apart from what they describe.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};

/// File and place → comment.
#[derive(Debug)]
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    pub(super) fn read(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let Some(info) = &file.file_descriptor_proto().source_code_info else { continue };
            for location in &info.location {
                if let Some(comment) = &location.leading_comments {
                    let place = (file.name().to_owned(), location.path.clone());
                    comments.insert(place, unwrapped(comment));
                }
            }
        }
        Self(comments)
    }

    fn at(&self, file: &str, path: &[i32]) -> &str {
        self.0.get(&(file.to_owned(), path.to_vec())).map_or("", String::as_str)
    }

    pub(super) fn of_service(&self, service: &ServiceDescriptor) -> &str {
        self.at(service.parent_file().name(), service.path())
    }

    pub(super) fn of_method(&self, method: &MethodDescriptor) -> &str {
        self.at(method.parent_service().parent_file().name(), method.path())
    }

    pub(super) fn of_message(&self, message: &MessageDescriptor) -> &str {
        self.at(message.parent_file().name(), message.path())
    }

    pub(super) fn of_field(&self, field: &FieldDescriptor) -> &str {
        self.at(field.parent_message().parent_file().name(), field.path())
    }

    pub(super) fn of_enum(&self, of: &EnumDescriptor) -> &str {
        self.at(of.parent_file().name(), of.path())
    }

    pub(super) fn of_value(&self, value: &EnumValueDescriptor) -> &str {
        self.at(value.parent_enum().parent_file().name(), value.path())
    }
}

/// Paragraphs without the line breaks that only the width of the source asks for. Lists and indented lines
/// stay lines.
fn unwrapped(comment: &str) -> String {
    let mut text = String::new();
    let mut goes_on = false;
    for line in comment.trim().lines() {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let stands_alone = line.is_empty() || line.starts_with([' ', '-', '*', '|', '#']);
        if !text.is_empty() {
            text.push(if goes_on && !stands_alone { ' ' } else { '\n' });
        }
        text.push_str(line);
        goes_on = !line.is_empty();
    }
    text
}

/// The first sentence, without its full stop.
pub(super) fn summary(comment: &str) -> &str {
    let paragraph = comment.split("\n\n").next().unwrap_or_default();
    paragraph.split(". ").next().unwrap_or_default().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_joined_and_lists_kept() {
        let comment = " One line.\n Two lines.\n\n Next:\n - a\n - b\n";
        assert_eq!(unwrapped(comment), "One line. Two lines.\n\nNext:\n- a\n- b");
        assert_eq!(summary("Does this. And that."), "Does this");
        assert_eq!(summary("Does this.\n\nMore."), "Does this");
        assert_eq!(summary(""), "");
    }
}
