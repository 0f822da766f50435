// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved forms with a version, so that a later version is recognised whatever it contains. For the
//! crates of this family.

/// A saved form whose first field is `version`.
pub trait Form {
    /// The version that is written, and the only one that is read.
    const VERSION: u32;
}

/// What was read: the known form, or only the number of another version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Versioned<T> {
    /// The known form.
    Known(T),
    /// Another version.
    Unknown(u32),
}

impl<T> Versioned<T> {
    /// Returns the known form.
    ///
    /// # Errors
    ///
    /// The version, if it is another one.
    pub fn known(&self) -> Result<&T, u32> {
        match self {
            Self::Known(known) => Ok(known),
            Self::Unknown(version) => Err(*version),
        }
    }
}

#[cfg(feature = "serde")]
pub use read::at_most;

#[cfg(feature = "serde")]
mod read {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::value::{self, MapAccessDeserializer, SeqAccessDeserializer};
    use serde::de::{Deserialize, Deserializer, Visitor};
    use serde::de::{DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess};
    use serde::ser::{Error as _, Serialize, Serializer};

    use super::{Form, Versioned};

    const VERSION: &str = "version";

    impl<T: Serialize> Serialize for Versioned<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Known(known) => known.serialize(serializer),
                Self::Unknown(version) => Err(S::Error::custom(format_args!(
                    "a snapshot of version {version} was not read, and cannot be written"
                ))),
            }
        }
    }

    impl<'de, T: Form + Deserialize<'de>> Deserialize<'de> for Versioned<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let mut form: (&str, &[&str]) = ("", &[]);
            let _ = T::deserialize(Ask(&mut form));
            let (name, fields) = form;
            deserializer.deserialize_struct(name, fields, FormVisitor(PhantomData))
        }
    }

    /// Asks a struct for its name and the names of its fields, and reads nothing.
    struct Ask<'a>(&'a mut (&'static str, &'static [&'static str]));

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            name: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, value::Error> {
            *self.0 = (name, fields);
            self.deserialize_any(visitor)
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
            Err(Error::custom("nothing is read"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    /// The name of a field, or its index in formats that write that instead.
    enum Key {
        Name(String),
        Place(u64),
    }

    impl Key {
        fn is_version(&self) -> bool {
            match self {
                Self::Name(name) => name == VERSION,
                Self::Place(place) => *place == 0,
            }
        }
    }

    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            // As for a derived struct: a format may write the name of a field in another way than
            // a string.
            deserializer.deserialize_identifier(KeyVisitor)
        }
    }

    struct KeyVisitor;

    impl Visitor<'_> for KeyVisitor {
        type Value = Key;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a field")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
            Ok(Key::Name(name.to_owned()))
        }

        fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Key, E> {
            Ok(Key::Name(String::from_utf8_lossy(name).into_owned()))
        }

        fn visit_u64<E: Error>(self, place: u64) -> Result<Key, E> {
            Ok(Key::Place(place))
        }
    }

    struct FormVisitor<T>(PhantomData<T>);

    impl<'de, T: Form + Deserialize<'de>> Visitor<'de> for FormVisitor<T> {
        type Value = Versioned<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a snapshot with its version")
        }

        /// The fields are read by name, in any order.
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Versioned<T>, A::Error> {
            let mut fields = Fields::<T, A>::new(map);
            let read = T::deserialize(MapAccessDeserializer::new(&mut fields));
            if read.is_ok() {
                return read.map(Versioned::Known);
            }
            // The version may be unknown, or follow only now.
            match fields.skip() {
                Ok(Some(version)) if version != T::VERSION => Ok(Versioned::Unknown(version)),
                _ => read.map(Versioned::Known),
            }
        }

        /// The fields are read by index, the version first.
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Versioned<T>, A::Error> {
            let missing = || A::Error::missing_field(VERSION);
            let version = seq.next_element()?.ok_or_else(missing)?;
            if version == T::VERSION {
                let first = Some(version);
                let fields = SeqAccessDeserializer::new(After { first, seq });
                return T::deserialize(fields).map(Versioned::Known);
            }
            // A format that is not self-describing cannot skip the rest. If the snapshot is the
            // whole input, it need not.
            while let Ok(Some(IgnoredAny)) = seq.next_element() {}
            Ok(Versioned::Unknown(version))
        }
    }

    /// The fields of a map, up to an unknown version.
    struct Fields<T, A> {
        map: A,
        /// Whether the version's value is to be returned next.
        at_version: bool,
        version: Option<u32>,
        form: PhantomData<T>,
    }

    impl<'de, T: Form, A: MapAccess<'de>> Fields<T, A> {
        fn new(map: A) -> Self {
            Self {
                map,
                at_version: false,
                version: None,
                form: PhantomData,
            }
        }

        fn next_key(&mut self) -> Result<Option<Key>, A::Error> {
            let key = self.map.next_key::<Key>()?;
            self.at_version = key.as_ref().is_some_and(Key::is_version);
            if self.at_version && self.version.replace(self.map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(VERSION));
            }
            Ok(key)
        }

        /// Skips the rest, and returns the version if it is there.
        fn skip(&mut self) -> Result<Option<u32>, A::Error> {
            while self.next_key()?.is_some() {
                if !self.at_version {
                    self.map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(self.version)
        }
    }

    impl<'de, T: Form, A: MapAccess<'de>> MapAccess<'de> for Fields<T, A> {
        type Error = A::Error;

        fn next_key_seed<K: DeserializeSeed<'de>>(
            &mut self,
            seed: K,
        ) -> Result<Option<K::Value>, A::Error> {
            let Some(key) = self.next_key()? else {
                return Ok(None);
            };
            if let Some(version) = self.version.filter(|version| *version != T::VERSION) {
                return Err(A::Error::custom(format_args!("version {version}")));
            }
            match key {
                Key::Name(name) => seed.deserialize(name.into_deserializer()),
                Key::Place(place) => seed.deserialize(place.into_deserializer()),
            }
            .map(Some)
        }

        fn next_value_seed<V: DeserializeSeed<'de>>(
            &mut self,
            seed: V,
        ) -> Result<V::Value, A::Error> {
            match self.version.filter(|_| self.at_version) {
                Some(version) => seed.deserialize(version.into_deserializer()),
                None => self.map.next_value_seed(seed),
            }
        }
    }

    /// A sequence whose first element was read already.
    struct After<A> {
        first: Option<u32>,
        seq: A,
    }

    impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for After<A> {
        type Error = A::Error;

        fn next_element_seed<S: DeserializeSeed<'de>>(
            &mut self,
            seed: S,
        ) -> Result<Option<S::Value>, A::Error> {
            match self.first.take() {
                Some(first) => seed.deserialize(first.into_deserializer()).map(Some),
                None => self.seq.next_element_seed(seed),
            }
        }
    }

    /// Reads a list of at most `MOST` elements. Its memory grows with what was read.
    ///
    /// # Errors
    ///
    /// Those of the format, and one if the list is longer.
    pub fn at_most<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_seq(ListVisitor::<MOST, T>(PhantomData))
    }

    struct ListVisitor<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for ListVisitor<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = seq.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                list.push(element);
            }
            Ok(list)
        }
    }
}
