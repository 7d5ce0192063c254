"""A small warehouse in the MIMIC-IV demo's form, written by hand: one patient, one admission, and a line for every fate."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

RAW: dict[str, tuple[str, list[str]]] = {
    "patients": ("subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod", ["1,F,60,2150,2011 - 2013,2151-02-01"]),
    "admissions": (
        "subject_id,hadm_id,admittime,dischtime,admission_type,admission_location,discharge_location",
        ["1,10,2150-03-01 10:00:00,2150-03-04 09:00:00,URGENT,EMERGENCY ROOM,HOME",
         "1,11,2150-06-01 10:00:00,2150-06-01 18:00:00,URGENT,INFORMATION NOT AVAILABLE,"],
    ),
    "transfers": (
        "subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime",
        ["1,10,1,ED,Emergency Department,2150-03-01 06:00:00,2150-03-01 10:30:00",  # lasts beyond the admission
         "1,10,2,admit,Medicine,2150-03-01 10:30:00,2150-03-04 09:00:00",
         "1,10,3,discharge,,2150-03-04 09:00:00,",
         "1,11,4,ED,Emergency Department,2150-06-01 06:00:00,2150-06-01 09:00:00",  # ends before it
         "1,,5,ED,Emergency Department,2150-07-01 06:00:00,2150-07-01 09:00:00"],
    ),
    "diagnoses_icd": ("subject_id,hadm_id,seq_num,icd_code,icd_version", ["1,10,1,A419,10", "1,10,2,4139 ,9", "1,10,3,X,11"]),
    "procedures_icd": (
        "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version",
        ["1,10,1,2150-03-02,3961,9", "1,10,2,2150-03-02,0DJ08ZZ,10"],
    ),
    "prescriptions": (
        "subject_id,hadm_id,pharmacy_id,starttime,stoptime,drug_type,drug,dose_val_rx,dose_unit_rx,route",
        ["1,10,100,2150-03-01 12:00:00,2150-03-03 12:00:00,MAIN,CefTRIAXone,1,g,IV",
         "1,10,100,2150-03-01 12:00:00,2150-03-03 12:00:00,BASE,Dextrose 5%,50,mL,IV",
         "1,10,101,2150-03-02 12:00:00,2150-03-01 12:00:00,MAIN,Aspirin,81,mg,PO",
         "1,10,102,2150-03-01 12:00:00,2150-03-02 12:00:00,MAIN,MetRONIDAZOLE (FLagyl),1-2,g,PO/NG"],
    ),
    "emar": (
        "subject_id,hadm_id,emar_id,emar_seq,pharmacy_id,charttime,medication,event_txt",
        ["1,10,e1,1,100,2150-03-01 13:00:00,CefTRIAXone,Administered",
         "1,10,e2,2,102,2150-03-01 14:00:00,, Delayed Administered ",  # the order names the drug
         "1,10,e3,3,,2150-03-01 15:00:00,,Administered",  # nothing names it
         "1,10,e4,4,100,2150-03-02 13:00:00,CefTRIAXone,Not Given",
         "1,10,e5,5,100,2150-03-02 14:00:00,CefTRIAXone,Confirmed",
         "1,10,e6,6,,2150-03-02 15:00:00,Heparin Flush,Flushed",
         "1,10,e7,7,,2150-03-02 16:00:00,Tuberculin Protein,Read",
         "1,10,e8,8,100,2150-03-02 17:00:00,CefTRIAXone,"],
    ),
    "emar_detail": (
        "subject_id,emar_id,parent_field_ordinal,dose_given,dose_given_unit,product_unit,route",
        ["1,e1,,,,,IV", "1,e1,1.1,0.5,g,VIAL,", "1,e1,1.2,0.5,g,VIAL,", "1,e2,1.1,___,mg,TAB,", "1,e2,1.2,500,mg,TAB,",
         "1,e2,1.3,,,,", "1,e4,1.1,1,g,,"],
    ),
    "microbiologyevents": (
        "subject_id,hadm_id,micro_specimen_id,chartdate,charttime,spec_type_desc,test_seq,storedate,storetime,test_name,org_name,"
        "isolate_num,quantity,ab_name,dilution_text,dilution_comparison,dilution_value,interpretation",
        ["1,10,s1,2150-03-01 00:00:00,2150-03-01 11:00:00,URINE,1,2150-03-03 00:00:00,2150-03-03 09:00:00,URINE CULTURE,"
         "ESCHERICHIA COLI,1,,CIPROFLOXACIN,=>4,=>        ,4,R",
         "1,10,s1,2150-03-01 00:00:00,2150-03-01 11:00:00,URINE,1,2150-03-03 00:00:00,2150-03-03 09:00:00,URINE CULTURE,"
         "ENTEROCOCCUS SP.,1,,,,,,",
         "1,10,s2,2150-03-02 00:00:00,,BLOOD CULTURE,1,2150-03-04 00:00:00,,\"Blood Culture, Routine\",CANCELLED,1,,,,,,",
         "1,,s3,2150-03-02 00:00:00,2150-03-02 08:00:00,MRSA SCREEN,1,2150-03-04 00:00:00,,MRSA SCREEN,,,,,,,,"],
    ),
    "labevents": (
        "labevent_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom,ref_range_lower,ref_range_upper,comments",
        ["1,1,10,50971,2150-03-01 11:00:00,4.1,4.1,mEq/L,3.3,5.1,",
         "2,1,,50971,2150-04-01 11:00:00,___,,mEq/L,3.3,5.1,\"HEMOLYZED, \"\"SLIGHT\"\".\n\"",
         "3,1,,50971,2150-05-01 11:00:00,GREATER THAN 10,,mEq/L,3.3,5.1,seen"],
    ),
    "d_labitems": ("itemid,label,fluid,category", ["50971,Potassium,Blood,Chemistry", "50983,Sodium,Blood,Chemistry"]),
    "pharmacy": ("subject_id,hadm_id,pharmacy_id", ["1,10,100"]),
    "services": ("subject_id,hadm_id,transfertime", ["1,10,2150-03-01 10:00:00"]),
    "omr": ("subject_id,chartdate,seq_num,result_name,result_value", ["1,2150-03-01,1,Height (Inches),63"]),
}  # fmt: skip


def write(folder: Path, **changed: tuple[str, list[str]]) -> Path:
    """The warehouse as ``folder/hosp/*.csv.gz``, some files changed."""
    (folder / "hosp").mkdir(parents=True, exist_ok=True)
    for name, (header, lines) in {**RAW, **changed}.items():
        text = "\n".join([header, *lines]) + "\n"
        (folder / "hosp" / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def table(delivery: Path, name: str) -> list[dict[str, str]]:
    """A written contract table."""
    with (delivery / f"{name}.csv").open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))
