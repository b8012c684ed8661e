-- Where the database is: last week's paid orders, and of customers nothing but their country.
COPY (
    SELECT ordered_at, cents, country
    FROM orders
    JOIN customers ON customers.id = orders.customer_id
    WHERE state = 'paid' AND ordered_at >= TIMESTAMP '2026-03-09'
    ORDER BY ordered_at, orders.id
) TO '/extract/orders.parquet' (FORMAT parquet);

SELECT format('{} orders extracted', count(*)) FROM '/extract/orders.parquet';
