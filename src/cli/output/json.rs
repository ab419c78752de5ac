//! JSON as podman prints it: indented by two spaces, keys in the order given.

use serde_json::Value;

/// Indented by two spaces, without a line end. An empty list is `[]`, an empty object `{}`.
pub fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"  ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a Value to memory cannot fail: its keys are strings.
    drop(serde::Serialize::serialize(value, &mut serializer));
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_indented_by_two() {
        let value = serde_json::json!([{"Id": "a", "Tags": [], "Labels": {}, "N": 1}]);
        assert_eq!(
            indented(&value),
            "[\n  {\n    \"Id\": \"a\",\n    \"Tags\": [],\n    \"Labels\": {},\n    \"N\": 1\n  }\n]"
        );
    }
}
