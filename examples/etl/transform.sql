-- Anywhere: what each country bought on each day, as a Parquet file of each country and as one table for people.
CREATE TABLE sales AS
SELECT
    country,
    ordered_at::DATE AS day,
    count(*) AS orders,
    sum(cents) / 100 AS euros,
    round(quantile_cont(cents, 0.5) / 100, 2) AS median
FROM '/in/orders.parquet'
GROUP BY country, day
ORDER BY country, day;

COPY sales TO '/sales' (FORMAT parquet, PARTITION_BY (country), OVERWRITE_OR_IGNORE);
COPY (PIVOT sales ON country USING sum(euros) GROUP BY day ORDER BY day) TO '/sales/days.csv' (HEADER);

SELECT format('{} days of {} countries, {:.2f} in all', count(DISTINCT day), count(DISTINCT country), sum(euros))
FROM sales;
