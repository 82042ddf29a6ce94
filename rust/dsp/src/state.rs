//! Saving and restoring a processor's running state, with one function for both directions.

/// Why a state could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// The bytes end too early, or a buffer has another length than the prepared processor.
    Mismatch,
    /// Bytes are left over.
    TrailingBytes,
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mismatch => "state was saved by a processor with other settings",
            Self::TrailingBytes => "state has bytes left over",
        })
    }
}
impl std::error::Error for StateError {}

/// Walks a processor's fields, writing them out or reading them back (little-endian).
///
/// A processor implements [`crate::Processor::state`] once, naming each field; the direction is
/// held here. Thread: control. May allocate.
pub enum StateIo<'a> {
    /// Fields are appended to the bytes.
    Save(&'a mut Vec<u8>),
    /// Fields are taken from the front of the bytes.
    Load(&'a [u8]),
}

macro_rules! scalar {
    ($one:ident, $many:ident, $t:ty) => {
        /// One value.
        pub fn $one(&mut self, value: &mut $t) -> Result<(), StateError> {
            match self {
                Self::Save(out) => out.extend_from_slice(&value.to_le_bytes()),
                Self::Load(bytes) => {
                    let (head, rest) = bytes.split_at_checked(size_of::<$t>()).ok_or(StateError::Mismatch)?;
                    *value = <$t>::from_le_bytes(head.try_into().map_err(|_| StateError::Mismatch)?);
                    *bytes = rest;
                }
            }
            Ok(())
        }

        /// A buffer, with its length; restoring into a buffer of another length is an error.
        pub fn $many(&mut self, values: &mut [$t]) -> Result<(), StateError> {
            let mut len = values.len() as u64;
            self.u64(&mut len)?;
            if len != values.len() as u64 {
                return Err(StateError::Mismatch);
            }
            values.iter_mut().try_for_each(|v| self.$one(v))
        }
    };
}

impl StateIo<'_> {
    scalar!(f32, f32s, f32);
    scalar!(f64, f64s, f64);
    scalar!(u32, u32s, u32);
    scalar!(u64, u64s, u64);
    scalar!(i64, i64s, i64);

    /// A length or index.
    pub fn usize(&mut self, value: &mut usize) -> Result<(), StateError> {
        let mut v = *value as u64;
        self.u64(&mut v)?;
        *value = v as usize;
        Ok(())
    }

    /// A flag.
    pub fn bool(&mut self, value: &mut bool) -> Result<(), StateError> {
        let mut v = u32::from(*value);
        self.u32(&mut v)?;
        *value = v != 0;
        Ok(())
    }

    /// To call after the last field: nothing may be left to read.
    pub fn finish(self) -> Result<(), StateError> {
        match self {
            Self::Load([_, ..]) => Err(StateError::TrailingBytes),
            _ => Ok(()),
        }
    }
}
