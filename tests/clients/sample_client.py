import os

import requests

DBT_CLOUD_API_TOKEN = os.environ["DBT_CLOUD_API_TOKEN"]
ACCOUNT_ID = os.environ["DBT_CLOUD_ACCOUNT_ID"]
BASE_URL = os.environ["DBT_CLOUD_BASE_URL"]

headers = {
    "Authorization": f"Token {DBT_CLOUD_API_TOKEN}",
    "Content-Type": "application/json"
}

# Create a new job
job_config = {
    "id": None,
    "account_id": ACCOUNT_ID,
    "project_id": int(os.environ["DBT_CLOUD_PROJECT_ID"]),
    "environment_id": int(os.environ["DBT_CLOUD_ENVIRONMENT_ID"]),
    "name": "Nightly Production Build",
    "dbt_version": None,  # Use environment default
    "execute_steps": [
        "dbt deps",
        "dbt seed",
        "dbt run",
        "dbt test"
    ],
    "settings": {
        "threads": 8,
        "target_name": "prod"
    },
    "schedule": {
        "cron": "0 2 * * *",
        "date": {
            "type": "every_day"
        },
        "time": {
            "type": "at_exact_time",
            "interval": 1,
            "hours": 2,
            "minutes": 0
        }
    },
    "triggers": {
        "github_webhook": False,
        "schedule": True
    }
}

response = requests.post(
    f"{BASE_URL}/accounts/{ACCOUNT_ID}/jobs/",
    headers=headers,
    json=job_config
)

if response.status_code == 201:
    job_id = response.json()["data"]["id"]
    print(f"Job created successfully. Job ID: {job_id}")
else:
    print(f"Error creating job: {response.text}")

# Trigger a job run
trigger_response = requests.post(
    f"{BASE_URL}/accounts/{ACCOUNT_ID}/jobs/{job_id}/run/",
    headers=headers,
    json={"cause": "API trigger - manual execution"}
)

if trigger_response.status_code == 200:
    run_id = trigger_response.json()["data"]["id"]
    print(f"Job triggered. Run ID: {run_id}")
