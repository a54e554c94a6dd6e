//! Reads JSON from outside. Where a struct is wanted, an object must stand.
//!
//! serde's derived code also takes an array for a struct, with the members' values in the order of its fields. No
//! documentation says that, and a field that is added would change what such an array means. So [`read`] passes on what
//! serde asks for, at every depth, but where it asks for a struct `Strict` asks for a map. What lies within an enum, or
//! in what serde keeps to look at it twice (`flatten`, `untagged`), is not looked at.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::de::Read;

/// The mark that some programs, mostly on Windows, put before a text in UTF-8. RFC 8259 lets readers ignore it.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Reads one JSON value, which may have a byte order mark before it.
///
/// # Errors
/// It is not JSON, or not of `T`'s shape.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes);
    whole(serde_json::Deserializer::from_slice(bytes))
}

/// As [`read`], of what is known to be UTF-8: that isn't looked at again.
///
/// # Errors
/// As [`read`].
pub fn read_text<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    whole(serde_json::Deserializer::from_str(text))
}

/// The one value that there is to be read.
fn whole<'de, T: DeserializeOwned>(
    mut json: serde_json::Deserializer<impl Read<'de>>,
) -> serde_json::Result<T> {
    let value = T::deserialize(Strict(&mut json))?;
    json.end()?;
    Ok(value)
}

/// What [`read`] gives of a JSON value that was read already.
pub(crate) fn of_value<T: DeserializeOwned>(value: serde_json::Value) -> serde_json::Result<T> {
    T::deserialize(Strict(value))
}

/// A deserializer, or another part of serde's machinery, that takes nothing but an object for a struct.
struct Strict<T>(T);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Strict(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Strict(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Strict(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    // JSON itself says what a value is.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// Passes on what JSON, or a JSON value, holds.
impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.0.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.0.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.0.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.0.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.0.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.0.visit_borrowed_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.0.visit_string(value)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(members))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        text: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Id(u64);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Good,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        id: Id,
        inner: Inner,
        perhaps: Option<Inner>,
        list: Vec<Inner>,
        map: BTreeMap<String, Inner>,
        pair: (bool, f64),
        kind: Kind,
        any: Value,
    }

    fn good() -> Value {
        json!({
            "id": 7, "inner": {"text": "a"}, "perhaps": {"text": "b"}, "list": [{"text": "c"}], "map": {"k": {"text": "d"}},
            "pair": [true, 1], "kind": "good", "any": [1, {"x": null}], "unknown": [[{}]],
        })
    }

    #[test]
    fn what_serde_reads_is_read_but_for_arrays_in_the_place_of_objects() {
        let wanted: Outer = serde_json::from_value(good()).unwrap();
        assert_eq!(read::<Outer>(good().to_string().as_bytes()).unwrap(), wanted);
        assert_eq!(read_text::<Outer>(&good().to_string()).unwrap(), wanted);
        assert_eq!(of_value::<Outer>(good()).unwrap(), wanted);
        for (place, array) in [
            ("/inner", json!(["a"])),
            ("/perhaps", json!(["b"])),
            ("/list/0", json!(["c"])),
            ("/map/k", json!(["d"])),
        ] {
            let mut bad = good();
            *bad.pointer_mut(place).unwrap() = array;
            assert!(serde_json::from_value::<Outer>(bad.clone()).is_ok(), "serde takes it");
            let error = read::<Outer>(bad.to_string().as_bytes()).unwrap_err().to_string();
            assert!(
                error.contains("invalid type: sequence, expected struct Inner at line 1"),
                "{error}"
            );
            assert!(read_text::<Outer>(&bad.to_string()).is_err(), "{place}");
            assert!(of_value::<Outer>(bad).is_err(), "{place}");
        }
        assert!(read::<Inner>(br#"["a"]"#).is_err());
    }

    #[test]
    fn a_byte_order_mark_is_left_out_and_nothing_else_may_stand_beside_the_value() {
        let json = "{\"text\": \"\u{feff}a\"}";
        let wanted = Inner { text: "\u{feff}a".to_owned() };
        assert_eq!(read::<Inner>(json.as_bytes()).unwrap(), wanted);
        assert_eq!(read::<Inner>(format!("\u{feff}{json}").as_bytes()).unwrap(), wanted);
        assert_eq!(read_text::<Inner>(&format!("\u{feff}{json}")).unwrap(), wanted);
        for bad in [format!("\u{feff}\u{feff}{json}"), format!("{json}{json}"), "\u{feff}".into()] {
            assert!(read::<Inner>(bad.as_bytes()).is_err(), "{bad}");
            assert!(read_text::<Inner>(&bad).is_err(), "{bad}");
        }
    }
}
