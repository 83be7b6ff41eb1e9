-- The demo upstream: a believable shop. Every value is made from row numbers, so that two starts give the same rows.
-- Names are common given and family names put together by number; addresses use reserved example domains; telephone
-- numbers the 555-01xx range kept for fiction; card numbers are Luhn-valid but of a test range.

create role shop_app login password :'app_password';
create role shop_catalog login password :'catalog_password';
create database shop;
\connect shop

create table customers (
    id integer primary key,
    name text not null,
    email text not null unique,
    phone text not null,
    card text not null,
    ssn text not null,
    city text not null,
    country text not null,
    notes text,
    created_at timestamptz not null
);
create table products (
    id integer primary key,
    name text not null,
    category text not null,
    price numeric(10, 2) not null
);
create table orders (
    id integer primary key,
    customer_id integer not null,
    status text not null,
    total numeric(12, 2) not null,
    placed_at timestamptz not null
);
create table order_items (
    order_id integer not null,
    line integer not null,
    product_id integer not null,
    quantity integer not null,
    price numeric(10, 2) not null,
    primary key (order_id, line)
);
create table payments (
    id integer primary key,
    order_id integer not null,
    method text not null,
    card text,
    iban text,
    amount numeric(12, 2) not null,
    paid_at timestamptz not null
);
create table staff (
    id integer primary key,
    name text not null,
    email text not null unique,
    title text not null,
    department text not null,
    ssn text not null,
    salary numeric(10, 2) not null,
    hired_on date not null
);

create function pg_temp.pick(list text[], n bigint) returns text immutable language sql
    as $$ select list[1 + (n % array_length(list, 1))] $$;

-- A stable scramble, so that neighbours differ: Knuth's multiplicative hash.
create function pg_temp.mix(n bigint, salt integer) returns bigint immutable language sql
    as $$ select ((n + salt * 7919) * 2654435761) % 4294967296 $$;

-- Card number of the test range 400000 with nine digits of its own and a check digit that fits (Luhn): every other
-- digit from the right is doubled. One expression, so that it is inlined.
create function pg_temp.twice(d bigint) returns bigint immutable language sql
    as $$ select case when d > 4 then 2 * d - 9 else 2 * d end $$;
create function pg_temp.card(m bigint) returns text immutable language sql as $$
    select '400000' || lpad(m::text, 9, '0') || (10 - (8
        + pg_temp.twice(m % 10) + m / 10 % 10 + pg_temp.twice(m / 100 % 10) + m / 1000 % 10
        + pg_temp.twice(m / 10000 % 10) + m / 100000 % 10 + pg_temp.twice(m / 1000000 % 10) + m / 10000000 % 10
        + pg_temp.twice(m / 100000000 % 10)) % 10) % 10
$$;

create temp table words as select
    array['Ada','Ben','Carla','David','Elena','Farid','Grace','Hugo','Ines','Jonas','Kavya','Liam','Mina','Noah','Olga',
          'Pablo','Quinn','Rosa','Samir','Tessa','Uma','Viktor','Wanda','Xenia','Yusuf','Zoe','Amir','Bianca','Cedric',
          'Dalia','Emil','Freya','Gita','Hanna','Ivan','Julia','Kofi','Lena','Marco','Nadia'] as given,
    array['Abbott','Baker','Castillo','Dunn','Eriksen','Fischer','Garcia','Hughes','Ivanov','Jansen','Khan','Larsen',
          'Meyer','Novak','Okafor','Patel','Quist','Rossi','Schmidt','Tanaka','Ueda','Vargas','Weber','Xu','Young',
          'Zhang','Almeida','Brandt','Costa','Dubois','Evans','Fontaine','Gruber','Haddad','Iyer','Jensen','Kowalski',
          'Lopez','Mancini','Nguyen'] as family,
    array['Lisbon','Oslo','Austin','Leeds','Turin','Lyon','Graz','Porto','Denver','Tampere','Ghent','Utrecht'] as city,
    array['PT','NO','US','GB','IT','FR','AT','PT','US','FI','BE','NL'] as country,
    array['Kettle','Lamp','Desk','Chair','Backpack','Notebook','Headset','Mug','Router','Jacket'] as thing,
    array['Classic','Compact','Deluxe','Eco','Pro','Travel'] as style,
    array['kitchen','lighting','office','office','travel','paper','audio','kitchen','network','clothing'] as category;

insert into customers
select n,
       pg_temp.pick(given, pg_temp.mix(n, 1)) || ' ' || pg_temp.pick(family, pg_temp.mix(n, 2)),
       lower(pg_temp.pick(given, pg_temp.mix(n, 1))) || '.' || lower(pg_temp.pick(family, pg_temp.mix(n, 2)))
           || n || '@' || pg_temp.pick(array['example.com','example.org','example.net'], pg_temp.mix(n, 3)),
       '+1-' || (200 + pg_temp.mix(n, 4) % 700) || '-555-01' || lpad((pg_temp.mix(n, 5) % 100)::text, 2, '0'),
       pg_temp.card(pg_temp.mix(n, 6) % 1000000000),
       lpad((1 + pg_temp.mix(n, 7) % 665)::text, 3, '0') || '-' || lpad((1 + pg_temp.mix(n, 8) % 99)::text, 2, '0')
           || '-' || lpad((1 + pg_temp.mix(n, 9) % 9999)::text, 4, '0'),
       pg_temp.pick(city, pg_temp.mix(n, 10)),
       pg_temp.pick(country, pg_temp.mix(n, 10)),
       case when pg_temp.mix(n, 11) % 40 = 0
            then 'Asked to be written to at ' || lower(pg_temp.pick(given, pg_temp.mix(n, 1))) || n || '@mail.example.com'
            when pg_temp.mix(n, 11) % 40 = 1 then 'Prefers delivery on weekdays' end,
       timestamptz '2021-01-01 00:00+00' + make_interval(mins => (pg_temp.mix(n, 12) % 2500000)::int)
from generate_series(1, 20000) n, words;

insert into products
select n, pg_temp.pick(style, n / 10) || ' ' || pg_temp.pick(thing, n) || ' ' || n,
       pg_temp.pick(category, n), 5 + (pg_temp.mix(n, 13) % 49500) / 100.0
from generate_series(1, 600) n, words;

insert into order_items
select n, line, p.id, 1 + pg_temp.mix(n * 4 + line, 18) % 3, p.price
from generate_series(1, 60000) n
cross join lateral generate_series(1, 1 + (pg_temp.mix(n, 19) % 3)::int) line
join products p on p.id = 1 + pg_temp.mix(n * 4 + line, 17) % 600;

insert into orders
select n, 1 + pg_temp.mix(n, 14) % 20000,
       pg_temp.pick(array['paid','shipped','delivered','delivered','delivered','returned','open'], pg_temp.mix(n, 15)),
       coalesce(sums.total, 0), timestamptz '2023-01-01 00:00+00' + make_interval(mins => (pg_temp.mix(n, 16) % 1500000)::int)
from generate_series(1, 60000) n
join (select order_id, sum(quantity * price) as total from order_items group by order_id) sums on sums.order_id = n;

insert into payments
select o.id, o.id, case when pg_temp.mix(o.id, 20) % 5 = 0 then 'transfer' else 'card' end,
       case when pg_temp.mix(o.id, 20) % 5 <> 0 then c.card end,
       case when pg_temp.mix(o.id, 20) % 5 = 0 then 'GB33BUKB20201555555555' end,
       o.total, o.placed_at + interval '5 minutes'
from orders o join customers c on c.id = o.customer_id where o.status <> 'open';

insert into staff
select n, pg_temp.pick(given, pg_temp.mix(n, 21)) || ' ' || pg_temp.pick(family, pg_temp.mix(n, 22)),
       lower(pg_temp.pick(given, pg_temp.mix(n, 21))) || '.' || lower(pg_temp.pick(family, pg_temp.mix(n, 22))) || n
           || '@shop.example.com',
       pg_temp.pick(array['Clerk','Buyer','Driver','Analyst','Engineer','Manager'], pg_temp.mix(n, 23)),
       pg_temp.pick(array['sales','warehouse','finance','support','engineering'], pg_temp.mix(n, 24)),
       lpad((1 + pg_temp.mix(n, 25) % 665)::text, 3, '0') || '-' || lpad((1 + pg_temp.mix(n, 26) % 99)::text, 2, '0')
           || '-' || lpad((1 + pg_temp.mix(n, 27) % 9999)::text, 4, '0'),
       28000 + (pg_temp.mix(n, 28) % 9000000) / 100.0,
       date '2012-01-01' + (pg_temp.mix(n, 29) % 4500)::int
from generate_series(1, 240) n, words;

alter table orders add foreign key (customer_id) references customers;
alter table order_items add foreign key (order_id) references orders, add foreign key (product_id) references products;
alter table payments add foreign key (order_id) references orders;
create index on orders (customer_id);
create index on payments (order_id);
create view order_summary as
select o.id, c.name, c.email, o.status, o.total, o.placed_at from orders o join customers c on c.id = o.customer_id;

grant usage, create on schema public to shop_app;
grant select, insert, update, delete on all tables in schema public to shop_app;
analyze;
