"""Admission reviews made from objects, for tests that have no recorded one."""

from webhook.check.sample_reviews import API_TOKEN_PATH, RESOURCES, review, with_api_token

__all__ = ["API_TOKEN_PATH", "RESOURCES", "review", "with_api_token"]
