//! Values for the tests: like those that caches hold, and different each time.

/// A small generator, so that a seed is all that a failing run needs.
pub(super) struct Random(pub(super) u64);

const WORDS: &[&str] = &[
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper",
    "kestrel", "lagoon", "meadow", "nickel", "orchid", "pepper", "quartz", "river", "saddle",
    "timber", "umbra", "velvet", "willow", "xenon", "yonder", "zephyr", "anchor", "bridge",
    "candle", "dragon", "engine", "falcon", "garden", "hammer", "insect", "jacket", "kettle",
    "ladder", "magnet", "needle", "oxygen", "pocket", "ribbon", "signal", "tunnel", "valley",
    "window", "yellow",
];
const CITIES: &[&str] = &[
    "Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Perth", "Turin", "Bergen", "Leeds", "Austin",
    "Kyoto", "Lima",
];
const PLANS: &[&str] = &["free", "basic", "team", "enterprise"];

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn word(&mut self) -> &'static str {
        self.pick(WORDS)
    }

    fn words(&mut self, count: u64) -> String {
        (0..count)
            .map(|_| self.word())
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// About 300 bytes.
pub(super) fn user_json(random: &mut Random) -> Vec<u8> {
    let (first, last) = (random.word(), random.word());
    let (id, city, plan) = (
        random.below(10_000_000),
        random.pick(CITIES),
        random.pick(PLANS),
    );
    let (day, hour, minute) = (1 + random.below(28), random.below(24), random.below(60));
    let (logins, credit, verified) = (
        random.below(5000),
        random.below(100_000),
        random.below(2) == 0,
    );
    let (theme, locale) = (
        random.pick(&["dark", "light", "system"]),
        random.pick(&["en-GB", "pt-PT", "nb-NO", "ja-JP"]),
    );
    format!(
        "{{\"id\":{id},\"name\":\"{first} {last}\",\"email\":\"{first}.{last}{}@example.com\",\"city\":\"{city}\",\
         \"plan\":\"{plan}\",\"created_at\":\"2024-{:02}-{day:02}T{hour:02}:{minute:02}:00Z\",\"logins\":{logins},\
         \"credit\":{credit},\"verified\":{verified},\"preferences\":{{\"theme\":\"{theme}\",\"locale\":\"{locale}\",\
         \"newsletter\":{}}},\"last_seen_ip\":\"10.{}.{}.{}\"}}",
        random.below(100), 1 + random.below(12), random.below(2) == 0,
        random.below(256), random.below(256), random.below(256),
    )
    .into_bytes()
}

/// About 700 bytes.
pub(super) fn product_json(random: &mut Random) -> Vec<u8> {
    let tags: Vec<String> = (0..4).map(|_| format!("\"{}\"", random.word())).collect();
    let offers: Vec<String> = (0..3)
        .map(|_| {
            format!(
                "{{\"seller\":\"{}-{}\",\"price\":{}.{:02},\"currency\":\"EUR\",\"in_stock\":{},\"delivery_days\":{}}}",
                random.word(), random.word(), random.below(900), random.below(100), random.below(2) == 0, random.below(14),
            )
        })
        .collect();
    format!(
        "{{\"sku\":\"{}-{:06}\",\"title\":\"{}\",\"description\":\"The {} of a {} with {} and {}.\",\"category\":\"{}\",\
         \"weight_grams\":{},\"dimensions\":{{\"width\":{},\"height\":{},\"depth\":{}}},\"tags\":[{}],\"rating\":{}.{},\
         \"reviews\":{},\"offers\":[{}],\"updated_at\":{},\"warehouse\":\"{}\",\"hazardous\":false,\"returnable_until_days\":30}}",
        random.word(), random.below(1_000_000), random.words(3), random.word(), random.word(), random.words(2),
        random.words(2), random.word(), random.below(5000), random.below(200), random.below(200), random.below(200),
        tags.join(","), random.below(5), random.below(10), random.below(3000), offers.join(","),
        1_700_000_000 + random.below(10_000_000), random.pick(CITIES),
    )
    .into_bytes()
}

/// About 100 bytes, most of them random.
pub(super) fn session(random: &mut Random) -> Vec<u8> {
    format!(
        "sid={:016x}{:016x};uid={};exp={};csrf={:016x};role={}",
        random.next(),
        random.next(),
        random.below(1_000_000),
        1_700_000_000 + random.below(1_000_000),
        random.next(),
        random.pick(&["user", "admin"]),
    )
    .into_bytes()
}

/// About 3 KB.
pub(super) fn html(random: &mut Random) -> Vec<u8> {
    let rows: String = (0..12)
        .map(|_| {
            format!(
                "    <li class=\"card card--compact\" data-id=\"{}\"><a class=\"card__link\" href=\"/catalog/{}/{}\">\
                 <span class=\"card__title\">{}</span><span class=\"card__price\">&euro; {}.{:02}</span></a></li>\n",
                random.below(1_000_000), random.word(), random.word(), random.words(2), random.below(500), random.below(100),
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  <title>{} - Shop</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"stylesheet\" href=\"/assets/site.css\">\n  <script defer src=\"/assets/site.js\"></script>\n</head>\n\
         <body class=\"page page--listing\">\n  <header class=\"site-header\"><nav class=\"site-nav\"><a href=\"/\">Home</a>\
         <a href=\"/catalog\">Catalog</a><a href=\"/account\">Account</a><a href=\"/cart\">Cart ({})</a></nav></header>\n\
         <main>\n  <h1>{}</h1>\n  <p class=\"lead\">{}</p>\n  <ul class=\"cards\">\n{rows}  </ul>\n</main>\n\
         <footer class=\"site-footer\"><p>&copy; Example Shop. All prices include tax.</p></footer>\n</body>\n</html>\n",
        random.words(2), random.below(20), random.words(3), random.words(14),
    )
    .into_bytes()
}
