//! Tables of contents: round trips, and what hostile ones get.

use std::io::{Read as _, Write as _};

use super::recipe::Assembly;
use super::table::{Form as Found, Place, Table, inflate, locate};
use super::write::{Form, Packed, pack};
use super::*;
use crate::base::Kind as Failure;
use crate::spec::digest::Digest;
use crate::storage::codec::Decoder;
use crate::storage::tar::{Entry, Kind, Writer};

/// Content that does not compress, so that frames have a size.
fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut x = seed;
    (0..bytes)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

fn files() -> Vec<(Entry, Vec<u8>)> {
    let file = |path: &[u8], content: Vec<u8>| {
        let entry = Entry {
            mode: 0o4755,
            uid: 1000,
            gid: 5,
            mtime: 1_700_000_000,
            nsec: 7,
            size: content.len() as u64,
            xattrs: vec![(b"user.x".to_vec(), vec![0, 255])],
            ..Entry::new(path, Kind::File)
        };
        (entry, content)
    };
    let plain = |path: &[u8], kind| {
        let entry = Entry {
            mode: 0o755,
            ..Entry::new(path, kind)
        };
        (entry, Vec::new())
    };
    let mut link = plain(b"a/link", Kind::Symlink);
    link.0.link = b"../x y".to_vec();
    let mut hard = plain(b"a/hard", Kind::HardLink);
    hard.0.link = b"a/small".to_vec();
    let mut device = plain(b"a/null", Kind::Char);
    device.0.device = (1, 3);
    vec![
        plain(b"a", Kind::Dir),
        file(b"a/small", b"hello".to_vec()),
        file(b"a/empty", Vec::new()),
        link,
        hard,
        device,
        plain(b"a/fifo", Kind::Fifo),
        file("a/größer".as_bytes(), noise((9 << 20) + 17, 1)),
        file(b"a/block", noise(512, 2)),
    ]
}

fn archive(files: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in files {
        writer.entry(entry).unwrap();
        writer.data(content).unwrap();
    }
    writer.finish().unwrap()
}

fn packed(form: Form) -> (Vec<u8>, Packed<Vec<u8>>) {
    let tar = archive(&files());
    let packed = pack(&tar[..], Vec::new(), form).unwrap();
    (tar, packed)
}

fn inflated(blob: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    Decoder::local(blob, crate::spec::digest::Algorithm::Sha256)
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

fn table(packed: &Packed<Vec<u8>>) -> Table {
    let place = locate(&packed.annotations, packed.size).unwrap().unwrap();
    place
        .read(packed.size, &mut |offset, length| {
            let at = usize::try_from(offset).unwrap();
            Ok(packed.sink[at..at + usize::try_from(length).unwrap()].to_vec())
        })
        .unwrap()
}

const BOTH: [Form; 2] = [Form::Zstd(3), Form::Stargz(6)];

#[test]
fn both_forms_are_what_any_decoder_reads_and_tell_the_same_files() {
    for form in BOTH {
        let (tar, packed) = packed(form);
        assert_eq!(packed.digest, Digest::sha256_of(&packed.sink));
        assert_eq!(packed.source, Digest::sha256_of(&tar));
        let plain = inflated(&packed.sink);
        assert_eq!(packed.diff_id, Digest::sha256_of(&plain), "{form:?}");
        assert_eq!(packed.diff_id == packed.source, form == BOTH[0]);
        let again = pack(&tar[..], Vec::new(), form).unwrap();
        assert_eq!(
            again.digest, packed.digest,
            "the same archive, the same bytes"
        );
        let table = table(&packed);
        let files = files();
        assert_eq!(table.items.len(), files.len());
        for (item, (entry, content)) in table.items.iter().zip(&files) {
            let mut want = entry.clone();
            want.mode &= 0o7777;
            assert_eq!(item.entry, want, "{form:?}");
            if content.is_empty() {
                continue;
            }
            assert_eq!(item.digest, Some(Digest::sha256_of(content)));
            let mut got = Vec::new();
            for chunk in &item.chunks {
                let range = chunk.offset as usize..chunk.end as usize;
                inflate(table.form, chunk, &packed.sink[range], &mut got).unwrap();
            }
            assert!(got == *content, "{form:?} {:?}", entry.path);
        }
        assert_eq!(table.items[7].chunks.len(), 3, "4 MiB each");
    }
}

#[test]
fn an_estargz_layer_can_be_packed_again() {
    let (_, first) = packed(Form::Stargz(6));
    let plain = inflated(&first.sink);
    let again = pack(&plain[..], Vec::new(), Form::Stargz(6)).unwrap();
    assert_eq!(again.digest, first.digest, "its own files are made anew");
}

#[test]
fn the_recipe_gives_the_archive_back() {
    let (tar, packed) = packed(Form::Zstd(3));
    let position = &packed.annotations[SPLIT_POSITION];
    let numbers: Vec<usize> = position.split(':').map(|n| n.parse().unwrap()).collect();
    let recipe = &packed.sink[numbers[0]..numbers[0] + numbers[1]];
    assert_eq!(
        packed.annotations[SPLIT_CHECKSUM],
        Digest::sha256_of(recipe).to_string()
    );
    let files = files();
    let mut assembly = Assembly::new(recipe, |path| {
        let content = &files.iter().find(|(e, _)| e.path == path).unwrap().1;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Ok(file)
    })
    .unwrap();
    let mut back = Vec::new();
    assembly.read_to_end(&mut back).unwrap();
    assert!(back == tar);
    // The check value of CRC-64/GO-ISO.
    let mut crc = super::recipe::Crc::default();
    crc.update(b"123456789");
    assert_eq!(crc.finish(), 0xb909_56c7_75a4_1001);
}

#[test]
fn the_footers_say_where_the_tables_are() {
    let (_, zstd) = packed(Form::Zstd(3));
    let tail = &zstd.sink[zstd.sink.len() - 72..];
    assert_eq!(tail[..8], [0x50, 0x2a, 0x4d, 0x18, 64, 0, 0, 0]);
    assert_eq!(&tail[64..], b"GNUlInUx");
    let position: Vec<u64> = zstd.annotations[ZSTD_POSITION]
        .split(':')
        .map(|n| n.parse().unwrap())
        .collect();
    let numbers: Vec<u64> = tail[8..64]
        .chunks(8)
        .map(|n| u64::from_le_bytes(n.try_into().unwrap()))
        .collect();
    assert_eq!(numbers[..4], position);
    let (_, stargz) = packed(Form::Stargz(6));
    assert_eq!(
        stargz.sink[stargz.sink.len() - 51..][..4],
        [0x1f, 0x8b, 8, 4]
    );
    assert_eq!(
        stargz.annotations[STARGZ_SIZE],
        inflated(&stargz.sink).len().to_string()
    );
}

/// Reads a hostile table as zstd:chunked would carry it.
fn read(json: &str) -> crate::base::Result<Table> {
    let bytes = zstd::bulk::compress(json.as_bytes(), 1).unwrap();
    let place = Place::Zstd {
        offset: 1008,
        packed: bytes.len() as u64,
        plain: json.len() as u64,
        digest: Digest::sha256_of(&bytes),
    };
    place.read(1 << 20, &mut |_, _| Ok(bytes.clone()))
}

#[test]
fn hostile_tables_are_refused() {
    let digest = Digest::sha256_of(b"x");
    let file = |rest: &str| {
        format!(
            r#"{{"version":1,"entries":[{{"type":"reg","name":"f","digest":"{digest}",{rest}}}]}}"#
        )
    };
    let good = file(r#""size":5,"offset":10,"endOffset":20"#);
    assert_eq!(read(&good).unwrap().items[0].chunks[0].end, 20);
    assert_eq!(read(&good).unwrap().form, Found::Zstd);
    for bad in [
        "".to_owned(),
        "[]".to_owned(),
        r#"{"version":2,"entries":[]}"#.to_owned(),
        r#"{"version":1}"#.to_owned(),
        // Outside of the blob, backwards, with gaps, without a digest.
        file(r#""size":5,"offset":10,"endOffset":2000"#),
        file(r#""size":5,"offset":20,"endOffset":20"#),
        file(r#""size":5,"offset":10,"endOffset":20,"chunkSize":4"#),
        file(r#""size":5,"offset":10,"endOffset":20,"chunkOffset":1,"chunkSize":4"#),
        file(r#""size":5,"offset":18446744073709551615,"endOffset":20"#),
        file(r#""size":18446744073709551615,"offset":10,"endOffset":20"#),
        file(r#""size":5,"offset":10,"endOffset":20,"chunkType":"magic""#),
        file(r#""size":-1"#),
        // A bomb: terabytes out of a kilobyte.
        file(r#""size":900000000000,"offset":10,"endOffset":20"#),
        good.replace(&format!(r#""digest":"{digest}","#), ""),
        good.replace(&digest.to_string(), "sha256:../../x"),
        good.replace(r#""name":"f""#, r#""name":"../f""#),
        good.replace(r#""name":"f""#, r#""name":"""#),
        good.replace("reg", "chunk"),
        good.replace("reg", "socket"),
        // Two files that overlap.
        format!(
            r#"{{"version":1,"entries":[
            {{"type":"reg","name":"a","digest":"{digest}","size":5,"offset":10,"endOffset":30}},
            {{"type":"reg","name":"b","digest":"{digest}","size":5,"offset":20,"endOffset":40}}]}}"#
        ),
        r#"{"version":1,"entries":[{"type":"symlink","name":"a"}]}"#.to_owned(),
        r#"{"version":1,"entries":[{"type":"dir","name":"a","xattrs":{"user.x":"*"}}]}"#.to_owned(),
        r#"{"version":1,"entries":[{"type":"dir","name":"a","uid":4294967296}]}"#.to_owned(),
    ] {
        let failed = read(&bad).expect_err(&bad);
        assert_eq!(failed.kind(), Failure::Corrupt, "{bad}: {failed:?}");
    }
    // Another table than the manifest's, larger than it says, a bomb.
    let bytes = zstd::bulk::compress(good.as_bytes(), 1).unwrap();
    for (digest, plain) in [(digest, 1000), (Digest::sha256_of(&bytes), 3)] {
        let place = Place::Zstd {
            offset: 1008,
            packed: bytes.len() as u64,
            plain,
            digest,
        };
        assert!(place.read(1 << 20, &mut |_, _| Ok(bytes.clone())).is_err());
    }
    let annotations = |position: &str| {
        let digest = Digest::sha256_of(b"x").to_string();
        Annotations::from([
            (ZSTD_POSITION.to_owned(), position.to_owned()),
            (ZSTD_CHECKSUM.to_owned(), digest),
        ])
    };
    for bad in [
        "",
        "1:2:3",
        "90:20:5:1",
        "0:1:99999999999:1",
        "18446744073709551615:1:1:1",
    ] {
        assert!(locate(&annotations(bad), 100).is_err(), "{bad}");
    }
    assert_eq!(locate(&annotations("1:2:3:9"), 100).unwrap(), None);
    assert_eq!(locate(&Annotations::new(), 100).unwrap(), None);
}

#[test]
fn a_chunk_with_another_content_is_refused() {
    for form in BOTH {
        let (_, mut packed) = packed(form);
        let table = table(&packed);
        let chunk = &table.items[7].chunks[1];
        packed.sink[chunk.offset as usize + 100] ^= 1;
        let range = chunk.offset as usize..chunk.end as usize;
        let failed = inflate(table.form, chunk, &packed.sink[range], &mut Vec::new());
        assert!(failed.is_err(), "{form:?}");
    }
}

#[test]
fn what_a_table_cannot_say_is_refused() {
    let odd = archive(&[(Entry::new(b"a\xff", Kind::Dir), Vec::new())]);
    let failed = pack(&odd[..], Vec::new(), Form::Zstd(3)).unwrap_err();
    assert_eq!(failed.kind(), Failure::Unsupported, "{failed:?}");
    assert!(pack(&odd[..], Vec::new(), Form::Zstd(99)).is_err());
}
