-- Returns the organisation that a send belongs to, or null if there is no such send.
--
-- Called by: store/sends.py, in the API and the worker. It runs as its owner, past row-level security: a public link
-- carries nothing but a signed send id, and this is how its request finds the organisation whose rows it may see.
CREATE FUNCTION marketing_send_organisation_v1(send_id uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT org_id FROM marketing_sends WHERE id = send_id
$$;

REVOKE ALL ON FUNCTION marketing_send_organisation_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_send_organisation_v1 TO marketing_api, marketing_worker;
