//! `common` under another name: the derive's expansion finds it, and a row needs no other package,
//! not even `bytemuck`.
//!
//! A package of its own, since what is proved is a matter of its manifest: no dependency here is
//! called `common`.

use tablecast::bytemuck::{Pod, Zeroable};
use tablecast::{Bool, FieldKind, IpNet, Ipv4, Ipv6, Kind, Mac, Row, Text, Timestamp};

/// A kind of the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "tablecast::bytemuck")]
#[repr(transparent)]
pub struct Cents(pub i64);

impl FieldKind for Cents {
    const KIND: Kind = Kind::I64;
}

/// A row with a field of each kind, a key of two of them, another name, and padding.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[bytemuck(crate = "tablecast::bytemuck")]
#[repr(C)]
#[allow(missing_docs, reason = "their names say all that there is to say")]
pub struct Everything {
    #[row(key)]
    pub u64: u64,
    pub i64: i64,
    pub f64: f64,
    pub timestamp: Timestamp,
    pub cents: Cents,
    pub u32: u32,
    pub i32: i32,
    pub f32: f32,
    pub u16: u16,
    pub i16: i16,
    pub u8: u8,
    pub i8: i8,
    pub bool: Bool,
    #[row(key)]
    pub text: Text<5>,
    pub ipv4: Ipv4,
    pub ipv6: Ipv6,
    pub ipnet: IpNet,
    #[row(name = "hardware address")]
    pub mac: Mac,
    #[row(skip)]
    pub padding: [u8; 4],
}

/// Structs that are legal and that a derive can easily get wrong.
///
/// Regression: the expansion interpreted text or names of the user.
#[cfg(test)]
mod hygiene {
    #![deny(warnings, missing_docs, unused_qualifications)]
    #![allow(
        non_camel_case_types,
        non_snake_case,
        dead_code,
        reason = "the names are those of the expansion"
    )]

    use tablecast::bytemuck::{Pod, Zeroable};
    use tablecast::{Row, Schema, Text};

    /// Types that hide the primitive ones.
    struct usize;
    struct u64;
    struct str;
    struct FieldDef;

    /// Names with the letters of format strings and literals.
    #[derive(Clone, Copy, Pod, Zeroable, Row)]
    #[bytemuck(crate = "tablecast::bytemuck")]
    #[repr(C)]
    struct Braces {
        #[row(key, name = "load{cpu0}")]
        key: core::primitive::u64,
        #[row(name = "{")]
        open: core::primitive::u64,
        #[row(name = "}} {} {0} {x} %s \\ \" \u{e9}")]
        all: core::primitive::u64,
    }

    /// Fields and a struct with raw names, and fields with names that the expansion uses.
    #[derive(Clone, Copy, Pod, Zeroable, Row)]
    #[bytemuck(crate = "tablecast::bytemuck")]
    #[repr(C)]
    #[doc = "{braces} in \"documentation\""]
    struct r#struct {
        #[row(key)]
        r#type: u32,
        #[row(key)]
        key: u32,
        /// Documentation with {braces}.
        r#match: u32,
        can_be_in_a_key: u32,
        core: u32,
        row: u32,
        name: u32,
        kind: u32,
        offset: u32,
        tablecast: u32,
        K: u32,
        KEY: u32,
    }

    impl r#struct {
        const KEY: u8 = 0;
        const FIELDS: u8 = 0;
        fn key(&self) -> u8 {
            0
        }
    }

    /// A deprecated field, and the name of the type parameter in the expansion.
    #[derive(Clone, Copy, Pod, Zeroable, Row)]
    #[bytemuck(crate = "tablecast::bytemuck")]
    #[repr(C)]
    #[row(crate = "tablecast")]
    struct K {
        #[row(key)]
        #[deprecated]
        id: u32,
    }

    mod inner {
        pub(super) use tablecast as elsewhere;
    }

    /// The crate by other paths.
    #[derive(Clone, Copy, Pod, Zeroable, Row)]
    #[bytemuck(crate = "tablecast::bytemuck")]
    #[repr(C)]
    #[row(crate = "self::inner::elsewhere")]
    struct ByPath {
        #[row(key)]
        name: Text<4>,
    }

    macro_rules! row {
        ($name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* }) => {
            #[derive(Clone, Copy, Pod, Zeroable, Row)]
            #[bytemuck(crate = "tablecast::bytemuck")]
            #[repr(C)]
            #[row(crate = "::tablecast")]
            struct $name { $($(#[$of_field])* $field: $kind,)* }
        };
    }

    row!(ByMacro {
        #[row(key)]
        key: u32,
        r#fn: u32,
    });

    #[test]
    fn rows_with_names_that_the_expansion_could_misread_have_them_in_their_schema() {
        fn names<R: Row>() -> Vec<String> {
            let schema = Schema::of::<R>().unwrap();
            schema.fields().iter().map(|field| field.name().to_owned()).collect()
        }
        assert_eq!(names::<Braces>(), ["load{cpu0}", "{", "}} {} {0} {x} %s \\ \" \u{e9}"]);
        assert_eq!(names::<r#struct>()[..3], ["type", "key", "match"]);
        assert_eq!(names::<K>(), ["id"]);
        assert_eq!(names::<ByPath>(), ["name"]);
        assert_eq!(names::<ByMacro>(), ["key", "fn"]);
    }
}

#[cfg(test)]
mod tests {
    use tablecast::{Change, Publisher, Result, Schema, Subscriber};

    use super::*;

    fn everything(number: u64) -> Result<Everything> {
        Ok(Everything {
            u64: number,
            i64: i64::MIN,
            f64: 0.1,
            timestamp: "2026-01-02T03:04:05.000000006Z".parse()?,
            cents: Cents(-995),
            u32: u32::MAX,
            i32: i32::MIN,
            f32: 0.2,
            u16: u16::MAX,
            i16: i16::MIN,
            u8: u8::MAX,
            i8: i8::MIN,
            bool: Bool::TRUE,
            text: Text::new("fünf")?,
            ipv4: "192.0.2.7".parse()?,
            ipv6: "2001:db8::7".parse()?,
            ipnet: "192.0.2.0/24".parse()?,
            mac: "02:00:5e:10:00:ff".parse()?,
            padding: [0; 4],
        })
    }

    #[test]
    fn a_row_of_all_kinds_is_published_and_followed_under_another_name() -> Result<()> {
        let table = format!("renamed-{}", std::process::id());
        let mut publisher = Publisher::<Everything>::builder(&table).open()?;
        let mut subscriber = Subscriber::<Everything>::open(&table)?;
        let row = everything(7)?;
        let mut tx = publisher.begin();
        tx.insert(&row)?;
        tx.commit()?;

        let changes = subscriber.wait(None)?;
        assert_eq!(changes.iter().collect::<Vec<_>>(), [Change::Created(&row)]);
        let key = (7, Text::new("fünf")?);
        assert_eq!(subscriber.get(&key), Some(&row));
        assert_eq!(subscriber.latest(&key)?, Some(row));
        publisher.close()
    }

    #[test]
    fn its_schema_is_what_anybody_reads_from_the_table() -> Result<()> {
        let fields = "u64:u64,i64:i64,f64:f64,timestamp:timestamp,cents:i64,u32:u32,i32:i32,f32:f32,u16:u16,i16:i16,\
                      u8:u8,i8:i8,bool:bool,text:text(5),ipv4:ipv4,ipv6:ipv6,ipnet:ipnet,hardware address:mac";
        assert_eq!(Schema::of::<Everything>()?, Schema::parse(fields, Some("u64,text"))?);
        Ok(())
    }
}
