//! D-Bus messages, as far as talking to systemd needs them: little-endian, without descriptors.
//!
//! Spec: <https://dbus.freedesktop.org/doc/dbus-specification.html>, "Message Protocol".

/// No message from systemd that concerns us is longer, bytes.
pub const LIMIT: usize = 1 << 20;

/// The fixed part of a header with the length of its fields, bytes.
pub const FIXED: usize = 16;

/// The bytes of a value, aligned as the specification says.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Fills up to a multiple of `n`.
    fn align(&mut self, n: usize) {
        self.0.resize(self.0.len().next_multiple_of(n), 0);
    }

    /// `u`.
    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// `t`.
    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    /// `s` and `o`.
    pub fn string(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// `g`: types of one kind or the other, always short.
    pub fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array: its length in bytes, filling up to what its elements want, the elements.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let bytes = length(self.0.len() - start).to_le_bytes();
        self.0[at..at + 4].copy_from_slice(&bytes);
    }

    /// `(sv)`: a property with a value of one type.
    pub fn property(&mut self, name: &str, kind: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.string(name);
        self.signature(kind);
        value(self);
    }

    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }
}

/// Our messages are a few hundred bytes.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A method call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The bus name of who is called; absent on a connection without a bus.
    pub destination: Option<&'a str>,
    /// The object.
    pub path: &'a str,
    /// Its interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// The types of the arguments.
    pub signature: &'a str,
}

impl Call<'_> {
    /// The whole message.
    pub fn encode(&self, serial: u32, body: &Writer) -> Vec<u8> {
        let mut out = Writer::default();
        for byte in [b'l', 1, 0, 1] {
            out.byte(byte);
        }
        out.u32(length(body.0.len()));
        out.u32(serial);
        let fields = [
            (1, "o", Some(self.path)),
            (2, "s", Some(self.interface)),
            (3, "s", Some(self.member)),
            (6, "s", self.destination),
            (8, "g", Some(self.signature).filter(|s| !s.is_empty())),
        ];
        out.array(8, |out| {
            for (code, kind, value) in fields {
                let Some(value) = value else { continue };
                out.align(8);
                out.byte(code);
                out.signature(kind);
                if kind == "g" {
                    out.signature(value);
                } else {
                    out.string(value);
                }
            }
        });
        out.align(8);
        out.0.extend(&body.0);
        out.0
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An answer.
    Return,
    /// An answer that is none.
    Error,
    /// A signal.
    Signal,
    /// Anything else.
    Other,
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is.
    pub kind: Type,
    /// The call that it answers.
    pub reply_to: Option<u32>,
    /// The signal's name.
    pub member: String,
    /// The error's name.
    pub error: String,
    /// Its arguments, where all are `s`, `o` or `u`; empty after the first of another type.
    pub arguments: Vec<String>,
}

/// The length of a message by its first [`FIXED`] bytes; absent for what is not ours to read.
pub fn total(head: &[u8]) -> Option<usize> {
    let mut reader = Reader { bytes: head, at: 4 };
    if head.first() != Some(&b'l') || head.get(3) != Some(&1) {
        return None;
    }
    let body = usize::try_from(reader.u32()?).ok()?;
    reader.at = 12;
    let fields = usize::try_from(reader.u32()?).ok()?;
    let total = FIXED
        .checked_add(fields)?
        .checked_next_multiple_of(8)?
        .checked_add(body)?;
    (total <= LIMIT).then_some(total)
}

impl Message {
    /// Reads a whole message; absent when it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 12 };
        let end = usize::try_from(reader.u32()?).ok()?.checked_add(FIXED)?;
        let mut message = Self {
            kind: match bytes.get(1)? {
                2 => Type::Return,
                3 => Type::Error,
                4 => Type::Signal,
                _ => Type::Other,
            },
            reply_to: None,
            member: String::new(),
            error: String::new(),
            arguments: Vec::new(),
        };
        let mut signature = String::new();
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            let kind = reader.signature()?;
            let text = match kind.as_str() {
                "u" => {
                    let number = reader.u32()?;
                    if code == 5 {
                        message.reply_to = Some(number);
                    }
                    continue;
                }
                "g" => reader.signature()?,
                "s" | "o" => reader.string()?,
                _ => return None,
            };
            match code {
                3 => message.member = text,
                4 => message.error = text,
                8 => signature = text,
                _ => {}
            }
        }
        reader.at = end;
        reader.align(8);
        for kind in signature.chars() {
            message.arguments.push(match kind {
                's' | 'o' => reader.string()?,
                'u' => reader.u32()?.to_string(),
                _ => break,
            });
        }
        Some(message)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, n: usize) {
        self.at = self.at.next_multiple_of(n);
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = std::str::from_utf8(self.bytes.get(self.at..end)?).ok()?;
        self.at = end.checked_add(1)?;
        Some(text.to_owned())
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.text(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_bytes_that_the_specification_says() {
        let call = Call {
            destination: Some("a.b"),
            path: "/",
            interface: "i.f",
            member: "M",
            signature: "su",
        };
        let mut body = Writer::default();
        body.string("x");
        body.u32(7);
        let bytes = call.encode(3, &body);
        let expected: &[u8] = b"l\x01\0\x01\x0c\0\0\0\x03\0\0\0\x48\0\0\0\
            \x01\x01o\0\x01\0\0\0/\0\0\0\0\0\0\0\
            \x02\x01s\0\x03\0\0\0i.f\0\0\0\0\0\
            \x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0\
            \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0\
            \x08\x01g\0\x02su\0\
            \x01\0\0\0x\0\0\0\x07\0\0\0";
        assert_eq!(bytes, expected);
        assert_eq!(total(&bytes[..FIXED]), Some(bytes.len()));
        let back = Message::decode(&bytes).unwrap();
        assert_eq!(back.member, "M");
        assert_eq!(back.arguments, ["x", "7"]);
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let call = Call {
            destination: None,
            path: "/",
            interface: "i",
            member: "M",
            signature: "s",
        };
        let mut body = Writer::default();
        body.string("some text");
        let bytes = call.encode(1, &body);
        for end in 0..bytes.len() {
            // A cut inside the text, or before: never a panic, never a whole message.
            assert!(
                Message::decode(&bytes[..end])
                    .is_none_or(|m| m.arguments.is_empty() || end + 1 >= bytes.len())
            );
        }
        let mut long = bytes.clone();
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(total(&long[..FIXED]), None);
        let mut big = bytes;
        big[0] = b'B';
        assert_eq!(total(&big[..FIXED]), None);
    }
}
