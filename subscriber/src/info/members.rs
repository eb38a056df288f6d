//! A JSON object as CSV, a line a member, in the order of their names.

use std::io::{self, Write};

use serde_json::Value;

use crate::format::csv_error;

/// A line a member: its name, those of members within members joined by dots, and its value.
pub fn write_csv(out: &mut impl Write, object: &Value) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["name", "value"]).map_err(csv_error)?;
    write_members(&mut writer, "", object)?;
    writer.flush()
}

fn write_members(
    writer: &mut csv::Writer<impl Write>,
    name: &str,
    value: &Value,
) -> io::Result<()> {
    let within = |member: &str| match name {
        "" => member.to_owned(),
        name => format!("{name}.{member}"),
    };
    match value {
        Value::Object(members) => members
            .iter()
            .try_for_each(|(member, value)| write_members(writer, &within(member), value)),
        Value::Array(elements) => elements.iter().enumerate().try_for_each(|(index, value)| {
            write_members(writer, &within(&index.to_string()), value)
        }),
        Value::String(text) => writer.write_record([name, text]).map_err(csv_error),
        other => writer.write_record([name, &other.to_string()]).map_err(csv_error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_within_members_are_joined_by_dots() {
        let object = serde_json::json!({"b": 1.5, "a": {"list": [{"x": "p,q"}, 7], "none": []}});
        let mut out = Vec::new();
        write_csv(&mut out, &object).unwrap();
        let expected = "name,value\na.list.0.x,\"p,q\"\na.list.1,7\nb,1.5\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
