//! The emergency file: where records go that the database does not take. They are as safe there from the death of the
//! process as in the database, are booked as soon as it takes records again, and are read back at the next start.
//!
//! The file has its room from the first start on, since what the database is short of is mostly room on the same disk.
//! A record is `length, CRC-32, protobuf`; the checksum covers the file's epoch too, so that emptying the file is one
//! small write that makes everything in it void.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::domain::usage::UsageRecord;
use crate::wire::usage;

const NAME: &str = "unbooked.log";
const MAGIC: &[u8; 8] = b"sproxyUB";
/// Bytes of the magic and the epoch.
const HEADER: u64 = 16;
/// Preallocated bytes: some ten thousand records. The file grows beyond them if it has to.
const PREALLOCATED_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of the length and checksum before each record.
const FRAME: usize = 8;
/// Far above the length of any record: a longer one is damage.
const RECORD_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub struct Emergency {
    path: PathBuf,
    file: File,
    epoch: u64,
    /// Where the next record goes.
    end: u64,
}

impl Emergency {
    /// Opens or makes the file in `data_dir`, and reads what an earlier process left there: records that may be in the
    /// database or not.
    ///
    /// # Errors
    /// What the system says. The node can do without the file; what it cannot book it then holds in memory alone.
    pub fn open(data_dir: &Path) -> io::Result<(Self, Vec<UsageRecord>)> {
        let path = data_dir.join(NAME);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let known = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk());
        let mut epoch = 1;
        let mut left = Vec::new();
        let mut read = 0;
        if let Some((noted, records)) = known {
            epoch = u64::from_le_bytes(*noted);
            (left, read) = read_all(records, epoch);
        }
        let missing = PREALLOCATED_BYTES.saturating_sub(bytes.len() as u64);
        if missing > 0 {
            file.seek(SeekFrom::Start(bytes.len() as u64))?;
            io::copy(&mut io::repeat(0).take(missing), &mut file)?;
        }
        let mut this = Self { path, file, epoch, end: HEADER + read };
        if known.is_none() {
            this.write_at(0, &[MAGIC.as_slice(), &epoch.to_le_bytes()].concat())?;
        }
        Ok((this, left))
    }

    /// Appends records; when it returns, they survive the death of the process, and that of the machine as far as the
    /// disk syncs what it acknowledges.
    ///
    /// # Errors
    /// What the system says; then none of them counts as written.
    pub(super) fn append<'r>(&mut self, records: impl Iterator<Item = &'r UsageRecord>) -> io::Result<()> {
        self.is_in_place()?;
        let mut bytes = Vec::new();
        for record in records {
            let payload = usage::encode(record);
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&checksum(self.epoch, &payload).to_le_bytes());
            bytes.extend_from_slice(&payload);
        }
        self.write_at(self.end, &bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything in the file void: it is in the database now.
    ///
    /// # Errors
    /// What the system says; then it will be read once more, which is harmless.
    pub fn empty(&mut self) -> io::Result<()> {
        let epoch = self.epoch + 1;
        self.write_at(MAGIC.len() as u64, &epoch.to_le_bytes())?;
        self.epoch = epoch;
        self.end = HEADER;
        // What it took beyond its room goes back to the disk.
        if self.file.metadata()?.len() > PREALLOCATED_BYTES {
            self.file.set_len(PREALLOCATED_BYTES)?;
        }
        Ok(())
    }

    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(position))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    /// Checked because the records would be lost with a file that was removed.
    #[cfg(unix)]
    fn is_in_place(&self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let (there, ours) = (std::fs::metadata(&self.path)?, self.file.metadata()?);
        let same = (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if same { Ok(()) } else { Err(io::Error::other(format!("{} was replaced", self.path.display()))) }
    }

    #[cfg(not(unix))]
    fn is_in_place(&self) -> io::Result<()> {
        std::fs::metadata(&self.path).map(drop)
    }
}

fn checksum(epoch: u64, payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&epoch.to_le_bytes());
    sum.update(payload);
    sum.finalize()
}

/// The records of this epoch, and how many bytes they take. A last one that was cut off was never acknowledged.
fn read_all(mut bytes: &[u8], epoch: u64) -> (Vec<UsageRecord>, u64) {
    let (mut records, mut read) = (Vec::new(), 0);
    while let Some((payload, rest)) = next(bytes, epoch) {
        match usage::decode(payload) {
            Ok(record) => records.push(record),
            Err(reason) => tracing::error!(%reason, "a record in {NAME} cannot be read and is left out"),
        }
        read += (FRAME + payload.len()) as u64;
        bytes = rest;
    }
    (records, read)
}

fn next(bytes: &[u8], epoch: u64) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > RECORD_MAX {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length)?;
    (checksum(epoch, payload) == u32::from_le_bytes(*sum)).then_some((payload, rest))
}
