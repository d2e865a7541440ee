//! Values that follow from the number of their key, so that every reply can be compared without being remembered.
//!
//! Text is made of a vocabulary of 4096 invented words, of which some are much more frequent than others, as in a
//! language; numbers, names, times and ids are drawn evenly. It stands for records of an application: field names
//! repeat from one to the next, contents hardly do.

use std::io::Write as _;
use std::str::FromStr;
use std::sync::OnceLock;

use super::{Random, Result, fill_value};

const WORDS: u64 = 4096;

/// The records that there are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Incompressible bytes.
    Noise,
    /// An account, JSON of about 300 bytes.
    User,
    /// An article of a shop, JSON of about 700 bytes.
    Product,
    /// A web page, HTML of about 3 KB.
    Page,
    /// An account with a text that fills it up to `--size` bytes.
    Document,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Kind, String> {
        Ok(match name {
            "noise" => Kind::Noise,
            "user" => Kind::User,
            "product" => Kind::Product,
            "page" => Kind::Page,
            "document" => Kind::Document,
            _ => return Err(format!("no such kind of value: {name}")),
        })
    }
}

/// What the options `--kind` and `--size` ask for.
#[derive(Clone, Copy)]
pub(crate) struct Values {
    kind: Kind,
    size: usize,
}

impl Values {
    pub(crate) fn of(options: &super::Options) -> Result<Values> {
        Ok(Values {
            kind: options.value("--kind", Some(Kind::Noise))?,
            size: options.value("--size", Some(64))?,
        })
    }

    /// The value of key `id`.
    pub(crate) fn made(&self, id: u64) -> Vec<u8> {
        let mut value = Vec::new();
        self.make(&mut value, id);
        value
    }

    /// Replaces `value` by the one of key `id`.
    pub(crate) fn make(&self, value: &mut Vec<u8>, id: u64) {
        let mut source = Source(Random(id ^ 0x00C0_FFEE_1234_5678));
        value.clear();
        match self.kind {
            Kind::Noise => {
                value.resize(self.size, 0);
                fill_value(value, id);
            }
            Kind::User => user(value, id, &mut source),
            Kind::Product => product(value, id, &mut source),
            Kind::Page => page(value, id, &mut source),
            Kind::Document => {
                user(value, id, &mut source);
                value.pop();
                value.extend_from_slice(b",\"notes\":\"");
                while value.len() < self.size {
                    put(value, &[source.word(), " "]);
                }
                value.truncate(self.size.saturating_sub(2));
                value.extend_from_slice(b"\"}");
            }
        }
    }
}

fn user(out: &mut Vec<u8>, id: u64, source: &mut Source) {
    let (first, last) = (source.word(), source.word());
    let role = ["member", "editor", "admin", "guest"][source.below(4) as usize];
    let zone = ["Europe/Vienna", "America/New_York", "Asia/Tokyo", "UTC"][source.below(4) as usize];
    // Writing to a vector cannot fail, here and below.
    let _ = write!(
        out,
        "{{\"id\":{id},\"name\":\"{first} {last}\",\"email\":\"{first}.{last}{}@{}.example\",\"role\":\"{role}\",\
         \"active\":{},\"created_at\":\"{}\",\"last_login\":\"{}\",\"time_zone\":\"{zone}\",\"score\":{}.{},\
         \"settings\":{{\"theme\":\"{}\",\"newsletter\":{},\"page_size\":{}}}}}",
        source.below(100),
        source.word(),
        source.below(8) != 0,
        source.time(),
        source.time(),
        source.below(100),
        source.below(100),
        ["light", "dark"][source.below(2) as usize],
        source.below(2) == 0,
        [10, 20, 50][source.below(3) as usize],
    );
}

fn product(out: &mut Vec<u8>, id: u64, source: &mut Source) {
    let _ = write!(
        out,
        "{{\"sku\":\"{:08X}\",\"product_id\":{id},\"title\":\"",
        source.below(1 << 32)
    );
    source.words(out, 5);
    let _ = write!(
        out,
        "\",\"brand\":\"{}\",\"price\":{{\"amount\":{}.{:02},\"currency\":\"EUR\",\"tax_included\":true}},\
         \"availability\":{{\"in_stock\":{},\"quantity\":{},\"warehouse\":\"W{}\"}},\"description\":\"",
        source.word(),
        source.below(900),
        source.below(100),
        source.below(5) != 0,
        source.below(500),
        source.below(12)
    );
    source.words(out, 30);
    out.extend_from_slice(b"\",\"tags\":[\"");
    source.words(out, 1);
    out.extend_from_slice(b"\",\"");
    source.words(out, 1);
    let _ = write!(
        out,
        "\"],\"rating\":{}.{},\"review_count\":{},\"dimensions_mm\":[{},{},{}],\"image_url\":\
         \"https://images.example.com/products/{id}/large.jpg\",\"updated_at\":\"{}\",\"shipping_class\":\"standard\"}}",
        source.below(5),
        source.below(10),
        source.below(3000),
        source.below(900),
        source.below(900),
        source.below(900),
        source.time()
    );
}

fn page(out: &mut Vec<u8>, id: u64, source: &mut Source) {
    out.extend_from_slice(
        b"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
          content=\"width=device-width, initial-scale=1\">\n<link rel=\"stylesheet\" href=\"/assets/site.css\">\n<title>",
    );
    source.words(out, 4);
    out.extend_from_slice(
        b"</title>\n</head>\n<body>\n<header class=\"site-header\"><nav class=\"main-navigation\"><a href=\"/\">Home</a>\
          <a href=\"/articles\">Articles</a><a href=\"/about\">About</a></nav></header>\n<main class=\"container\">\n<h1>",
    );
    source.words(out, 4);
    out.extend_from_slice(b"</h1>\n");
    for _ in 0..9 {
        let _ = write!(
            out,
            "<section class=\"article-card article-card--compact\" data-id=\"{}\">\n<h2 class=\"article-card__title\">\
             <a class=\"article-card__link\" href=\"/articles/{id}/{}\">",
            source.below(1 << 20),
            source.word()
        );
        source.words(out, 3);
        out.extend_from_slice(b"</a></h2>\n<p class=\"article-card__summary\">");
        source.words(out, 7);
        let _ = write!(
            out,
            "</p>\n<time datetime=\"{}\"></time>\n</section>\n",
            source.time()
        );
    }
    out.extend_from_slice(
        b"</main>\n<footer class=\"site-footer\">All rights reserved.</footer>\n<script src=\"/assets/site.js\" defer>\
          </script>\n</body>\n</html>\n",
    );
}

/// Draws the contents of one value.
struct Source(Random);

impl Source {
    fn below(&mut self, limit: u64) -> u64 {
        self.0.next() % limit
    }

    /// The product of two draws prefers small numbers: the frequent words.
    fn word(&mut self) -> &'static str {
        let index = self.below(WORDS) * self.below(WORDS) / WORDS;
        &vocabulary()[index as usize]
    }

    fn words(&mut self, out: &mut Vec<u8>, count: u32) {
        for number in 0..count {
            put(out, &[if number == 0 { "" } else { " " }, self.word()]);
        }
    }

    fn time(&mut self) -> String {
        let (year, month, day) = (2020 + self.below(6), 1 + self.below(12), 1 + self.below(28));
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    parts
        .iter()
        .for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn vocabulary() -> &'static [String] {
    static VOCABULARY: OnceLock<Vec<String>> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        const STARTS: &[u8] = b"bcdfghjklmnprstvwz";
        const VOWELS: &[u8] = b"aeiouy";
        let mut random = Random(1);
        let mut letter = |of: &[u8]| {
            char::from(of[usize::try_from(random.next() % of.len() as u64).unwrap_or(0)])
        };
        (0..WORDS)
            .map(|number| {
                (0..2 + number % 3)
                    .flat_map(|_| [letter(STARTS), letter(VOWELS)])
                    .collect()
            })
            .collect()
    })
}
