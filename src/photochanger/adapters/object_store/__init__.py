"""The media store in an S3-compatible service.

`bucket` says which one, and imports nothing; `store` needs obstore, which is the extra `s3`.
"""
