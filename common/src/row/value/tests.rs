//! Tests that convert values of every kind, including its limits, to all three forms and back.

use super::*;
use crate::Kind;

/// Encodes a value, and checks that its text and its JSON encode to the same bytes.
fn round_trip(kind: Kind, value: Value<'_>) -> Vec<u8> {
    // Fill the buffer with nonzero bytes, so that the test notices bytes that encoding does not
    // write.
    let encode = |value: Value<'_>| {
        let mut bytes = vec![0xa5; kind.size()];
        value.encode(kind, &mut bytes).unwrap();
        bytes
    };
    let bytes = encode(value);
    let decoded = Value::decode(kind, &bytes);
    assert_eq!(encode(decoded.clone()), bytes, "{kind}: {decoded:?} by itself");
    let text = decoded.to_string();
    assert_eq!(encode(Value::parse(kind, &text).unwrap()), bytes, "{kind}: {text} as text");
    let line = serde_json::to_string(&decoded).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(encode(Value::from_json(kind, &json).unwrap()), bytes, "{kind}: {line} as JSON");
    bytes
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

/// Checks [`round_trip`], and that decoding returns the value.
fn same(kind: Kind, value: Value<'_>) {
    let bytes = round_trip(kind, value.clone());
    assert_eq!(Value::decode(kind, &bytes), value);
}

#[test]
fn integers_round_trip_at_their_limits() {
    let unsigned = [
        (Kind::U8, u8::MAX.into()),
        (Kind::U16, u16::MAX.into()),
        (Kind::U32, u32::MAX.into()),
        (Kind::U64, u64::MAX),
    ];
    for (kind, greatest) in unsigned {
        for number in [0, 1, greatest - 1, greatest] {
            same(kind, Value::U64(number));
        }
    }
    let signed = [
        (Kind::I8, i8::MIN.into()),
        (Kind::I16, i16::MIN.into()),
        (Kind::I32, i32::MIN.into()),
        (Kind::I64, i64::MIN),
    ];
    for (kind, least) in signed {
        for number in [least, least + 1, -1, 0, 1, !least] {
            same(kind, Value::I64(number));
        }
    }
}

#[test]
fn floats_round_trip_at_their_limits() {
    let narrow = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.1,
        f32::MIN_POSITIVE,
        1e-45,
        f32::MAX,
        f32::MIN,
        16_777_217.0,
        8.589_973e9,
        1e16,
    ];
    for number in narrow.into_iter().chain([f32::INFINITY, f32::NEG_INFINITY]) {
        same(Kind::F32, Value::F32(number));
    }
    let wide = [
        0.0,
        -0.0,
        1.0,
        0.1,
        1.0 / 3.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        1e16,
        123_456_789_012_345_680.0,
        2.5e-5,
    ];
    for number in wide.into_iter().chain([f64::INFINITY, f64::NEG_INFINITY]) {
        same(Kind::F64, Value::F64(number));
    }
    round_trip(Kind::F32, Value::F32(f32::NAN));
    round_trip(Kind::F64, Value::F64(f64::NAN));
}

#[test]
fn floats_of_any_bits_round_trip() {
    // Any generator of arbitrary bits is sufficient.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(0xd129_42fb_3b3c_8f85).rotate_left(23) ^ 0x5851_f42d_4c95_7f2d;
        let (wide, narrow) = (f64::from_bits(bits), f32::from_bits(bits as u32));
        if !wide.is_nan() {
            same(Kind::F64, Value::F64(wide));
        }
        if !narrow.is_nan() {
            same(Kind::F32, Value::F32(narrow));
        }
    }
}

#[test]
fn texts_of_all_widths_round_trip() {
    for content in
        ["", "a", "abcdefgh", "abcdefü", "\"q\"\n\t\\", " spaced ", "日本", "\u{10ffff}x"]
    {
        same(Kind::Text(8), text(content).into_owned());
        same(Kind::Text(4096), text(content).into_owned());
    }
    same(Kind::Text(1), text("x"));
}

#[test]
fn addresses_and_times_round_trip() {
    for address in ["0.0.0.0", "192.0.2.1", "255.255.255.255"] {
        same(Kind::Ipv4, Value::Ipv4(address.parse().unwrap()));
    }
    for address in ["::", "::1", "::ffff:1.2.3.4", "2001:db8::1"] {
        same(Kind::Ipv6, Value::Ipv6(address.parse().unwrap()));
    }
    for network in
        ["0.0.0.0/0", "10.0.0.0/8", "1.2.3.4/32", "::/0", "2001:db8::/32", "::ffff:1.2.3.4/128"]
    {
        same(Kind::IpNet, Value::IpNet(network.parse().unwrap()));
    }
    for bytes in [[0; 6], [0xff; 6], [2, 0, 0x5e, 0x10, 0, 0xff]] {
        same(Kind::Mac, Value::Mac(bytes.into()));
    }
    for nanos in [i64::MIN, -1, 0, 1, 1_000_000_000, 1_767_323_045_123_456_789, i64::MAX] {
        same(Kind::Timestamp, Value::Timestamp(Timestamp::from_nanos(nanos)));
    }
    same(Kind::Bool, Value::Bool(true));
    same(Kind::Bool, Value::Bool(false));
}

#[test]
fn any_bytes_decode_to_a_value_that_encodes() {
    let kinds = [
        Kind::Bool,
        Kind::U8,
        Kind::I16,
        Kind::Ipv4,
        Kind::Ipv6,
        Kind::IpNet,
        Kind::Mac,
        Kind::Timestamp,
    ];
    for byte in 0..=u8::MAX {
        for kind in kinds {
            let bytes = vec![byte; kind.size()];
            let decoded = Value::decode(kind, &bytes).into_owned();
            round_trip(kind, decoded);
        }
        let bytes = [b'a', byte, byte, b'b', 0, byte];
        // The replacement of an invalid byte takes three bytes, so the text may not fit any more.
        round_trip(Kind::Text(18), Value::decode(Kind::Text(6), &bytes));
    }
    assert_eq!(Value::decode(Kind::Bool, &[2]), Value::Bool(true));
    assert_eq!(Value::decode(Kind::Text(4), b"a\0b\xff"), text("a"));
    assert_eq!(Value::decode(Kind::Text(3), b"a\xffb"), text("a\u{fffd}b"));
}

#[test]
fn floats_are_formatted_with_the_fewest_digits() {
    let shown = |number| Value::F64(number).to_string();
    assert_eq!(
        ["0", "-0", "1", "9.5"],
        [0.0, -0.0, 1.0, 9.5].map(shown).each_ref().map(String::as_str)
    );
    assert_eq!(shown(1e300), "1e300");
    assert_eq!(shown(1e-7), "1e-7");
    assert_eq!(shown(123_456_789.0), "123456789");
    assert_eq!(Value::F32(0.1).to_string(), "0.1");
    assert_eq!(format!("[{:>5}|{:<4}]", Value::F32(0.5), Value::Bool(true)), "[  0.5|true]");
    assert_eq!(serde_json::to_string(&Value::F32(0.1)).unwrap(), "0.1");
    assert_eq!(serde_json::to_string(&Value::F64(f64::NEG_INFINITY)).unwrap(), r#""-Infinity""#);
}

#[test]
fn errors_shorten_long_values_and_escape_control_characters() {
    let error = Value::parse(Kind::U8, &"\u{1b}".repeat(1000)).unwrap_err().to_string();
    assert!(error.len() < 600 && error.contains('…') && !error.contains('\u{1b}'), "{error}");
}
