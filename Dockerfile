# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY .cargo .cargo
COPY src src
COPY benches benches
COPY examples examples
COPY tests tests
RUN cargo build --profile dist --locked --bin strata && strip target/dist/strata

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --uid 10001 strata && install -d -o strata /data
COPY --from=build /src/target/dist/strata /usr/local/bin/strata
COPY --chmod=755 conf/image-entrypoint /usr/local/bin/image-entrypoint
USER strata
WORKDIR /data
# The disk tier. Without a volume it goes with the container.
ENV STRATA_TIER_DIR=/data
# In a container clients come from outside, so it listens everywhere, unless a flag or a file says otherwise. Protected mode
# refuses them until a password is set (STRATA_REQUIREPASS) or it is switched off.
ENV STRATA_BIND=*
VOLUME /data
EXPOSE 6379
# With the options of the server that runs in the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["strata", "healthcheck"]
# docker run IMAGE [/path/to/strata.conf] [--maxmemory 1gb ...]
ENTRYPOINT ["image-entrypoint"]
CMD ["strata"]
