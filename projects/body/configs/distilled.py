_base_ = '../../../configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-128x128.py'
custom_imports = dict(imports=[*_base_.custom_imports['imports'], 'distillation'])

# with PYTHONPATH=projects/body, from the weights of the second run: constant, then half a cosine to zero
train_cfg = dict(max_epochs=16, val_interval=3)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        begin=4,
        end=16,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/second_run/epoch_35.pth'

model = dict(
    type='DistilledPoseEstimator',
    deep_channels=(512, 560),
    fine_channels=(256, 41),
    hint_weight=3.0,
)

# the teacher sees what the student does, in its own colours
train_pipeline = _base_.train_pipeline
train_pipeline[3].prob = 0.25
train_pipeline[4].update(shift_factor=0.12, rotate_factor=45)
train_pipeline.insert(5, dict(type='TeacherFeatures', model='data/movenet_features.onnx'))
train_pipeline[-1] = dict(type='PackTeacherInputs')

# what pseudo_labels.py wrote: the annotated persons, and those whom nobody annotated
body19 = dict(metainfo=dict(from_file='configs/_base_/datasets/body19.py'), pipeline=[])
lspet_taught = dict(_base_.lspet_train, ann_file='annotations/lspet_train_taught.json', **body19)
lsp_taught = dict(_base_.lsp_train, ann_file='annotations/lsp_train_taught.json', **body19)
mpii_taught = dict(_base_.mpii_train, ann_file='annotations/mpii_coco_train_taught.json', **body19)
coco_taught = dict(_base_.coco_train, ann_file='annotations/coco_train_taught.json', **body19)
lspet_found = dict(_base_.lspet_train, ann_file='annotations/lspet_train_found.json', **body19)
lsp_found = dict(_base_.lsp_train, ann_file='annotations/lsp_train_found.json', **body19)
mpii_found = dict(_base_.mpii_train, ann_file='annotations/mpii_coco_train_found.json', **body19)
coco_found = dict(_base_.coco_train, ann_file='annotations/coco_train_found.json', **body19)

train_dataloader = dict(
    dataset=dict(
        names=[
            'lspet',
            'lsp',
            'mpii',
            'coco',
            *(f'{n}_found' for n in ('lspet', 'lsp', 'mpii', 'coco')),
        ],
        datasets=[
            lspet_taught,
            lsp_taught,
            mpii_taught,
            coco_taught,
            lspet_found,
            lsp_found,
            mpii_found,
            coco_found,
        ],
        sample_ratio_factor=[0.5, 1, 1.5, 2, 1, 1, 2, 3],
        pipeline=train_pipeline,
    )
)
