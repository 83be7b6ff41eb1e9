"""Tables of the read model. Everything in them is derived from the log; ``docs/log.md`` says how to read
them.

A migration is never edited after release; the next one is appended. Names stand without a schema: the
connection's ``search_path`` says which (``weirgate``, or the one a rebuild fills before it takes that
name).
"""

from typing import Final

SCHEMA: Final = "weirgate"

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    create table position (
        stream       text primary key,
        sequence     bigint not null,
        link         bytea not null,
        checkpointed bigint not null default 0,
        fresh        bigint not null default 0
    );
    comment on table position is 'How far each stream is stored, in the same transaction as what was stored';
    comment on column position.checkpointed is 'Newest sequence a checkpoint in the log covers';
    comment on column position.fresh is 'Newest message that is not itself a checkpoint';

    create table gap (
        stream     text not null,
        first      bigint not null,
        last       bigint not null,
        noticed_at timestamptz not null default now(),
        primary key (stream, first)
    );

    create table events (
        sequence   bigint primary key,
        subject    text not null,
        message_id text not null,
        kind       text,
        session    text,
        operation  integer,
        at         timestamptz,
        body       bytea not null,
        link       bytea not null
    );
    comment on column events.kind is 'Null: the body is no event this release can read';
    comment on column events.body is 'As stored in the log, byte for byte';
    create index events_session on events (session, sequence) where session is not null;

    create view event_documents as
        select sequence, subject, kind, session, operation, at, convert_from(body, 'UTF8')::json as document
        from events where kind is not null;

    create table sessions (
        session     text primary key,
        ingress     text not null,
        state       text,
        protocol    text,
        resource    text,
        agent       text,
        person      text,
        groups      text[],
        run         text,
        tool        text,
        issuer      text,
        token_id    text,
        peer        text,
        tls         text,
        application text,
        opened_at   timestamptz,
        closed_at   timestamptz,
        reason      text,
        refusal     text,
        killed_by   text,
        operations  bigint,
        bytes_in    bigint,
        bytes_out   bigint
    );
    comment on column sessions.state is 'open, closed or refused; null: only heard of';
    comment on column sessions.agent is 'Proved for open and closed, only claimed for refused';
    create index sessions_opened on sessions (opened_at desc);

    create table operations (
        session          text not null,
        operation        integer not null,
        sequence         bigint not null,
        ingress          text,
        resource         text,
        agent            text,
        protocol         text,
        intercepted      text,
        at               timestamptz,
        digest           text,
        text             text,
        verbs            text[],
        verdict          text,
        refusal          text,
        reason           text,
        rules            text[],
        unmask           text[],
        masked           text[],
        request          text,
        policy_revision  bigint,
        masking_revision bigint,
        catalog_revision text,
        outcome          text,
        sqlstate         text,
        tags             text[],
        rows             bigint,
        bytes_in         bigint,
        bytes_out        bigint,
        cells_masked     bigint,
        duration_us      bigint,
        sha256           text,
        ended_at         timestamptz,
        primary key (session, operation)
    ) with (fillfactor = 80);
    comment on column operations.verdict is 'allowed, denied, held (waiting still), or null: none came';
    comment on column operations.outcome is 'ok, error, failed, abandoned, refused, or null: not over';
    comment on column operations.masked is 'Labels the plan masks, whatever the verdict unmasks';

    create table approvals (
        request      text primary key,
        session      text not null,
        ingress      text not null,
        operation    integer not null,
        digest       text not null,
        state        text,
        resource     text,
        agent        text,
        person       text,
        groups       text[],
        quorum       integer,
        reason       text,
        text         text,
        requested_at timestamptz,
        expires_at   timestamptz,
        decided_at   timestamptz,
        decided_by   text[],
        decision     text,
        endorsed_by  text[] not null default '{}'
    );
    comment on column approvals.state is 'requested, granted, refused, expired or withdrawn';
    create index approvals_session on approvals (session);

    create table recordings (
        session        text primary key,
        ingress        text not null,
        first_sequence bigint not null,
        last_sequence  bigint not null,
        messages       bigint not null,
        unreadable     bigint not null,
        frames         bigint not null,
        size_bytes     bigint not null,
        first_at       timestamptz,
        last_at        timestamptz
    );
    comment on table recordings is 'Where the recording of a session lies in the RECORDING stream';
    """,
    """
    alter table operations
        add column status        integer,
        add column response_type text;
    comment on column operations.text is 'SQL, or method, path and query of an HTTP call';
    comment on column operations.status is 'Of HTTP: status the upstream answered';
    comment on column operations.response_type is 'Of HTTP: media type it answered with, without parameters';
    """,
    """
    alter table operations
        add column model         text,
        add column input_tokens  bigint,
        add column output_tokens bigint,
        add column tools_called  text[];
    comment on column operations.model is 'Of a call of a model: the one that answered, else the one asked for';
    comment on column operations.input_tokens is 'As the answer says, what a cache was read or written for included';
    comment on column operations.tools_called is 'Names of the tools the answer asked to be called';
    """,
)
