-- Fills a shop's database: customers and two weeks of their orders, made up, and the same each time.
CREATE OR REPLACE TABLE customers AS
SELECT
    id,
    ['Japan', 'Norway', 'Peru', 'Portugal'][1 + (hash(id) % 4)::INTEGER] AS country
FROM range(5000) AS made(id);

CREATE OR REPLACE TABLE orders AS
SELECT
    id,
    (hash(id, 'customer') % 5000)::INTEGER AS customer_id,
    TIMESTAMP '2026-03-02' + to_seconds((hash(id, 'time') % 1209600)::INTEGER) AS ordered_at,
    (100 + hash(id, 'cents') % 20000)::INTEGER AS cents,
    ['paid', 'paid', 'paid', 'cancelled'][1 + (hash(id, 'state') % 4)::INTEGER] AS state
FROM range(200000) AS made(id);

SELECT format('{} orders of {} customers', (SELECT count(*) FROM orders), (SELECT count(*) FROM customers));
